bottlebuild { required_version = ">= 0.2, < 1.0" }

variable "hosts" {
  type        = list(string)
  default     = ["example.com"]
  description = "What everyone may reach."
  nullable    = false
}

variable "token" {
  default   = "not for printing"
  sensitive = true
}

locals {
  prompt = file("files/prompt.txt")
  nets   = { for n in ["a", "b"] : n => stable_subnet("10.0.0.0/8", 16, n) }
}

registry "plain" {
  url      = "localhost:5000/x"
  insecure = true
}

# Its Dockerfile is beside the bottle file.
image "from_image" {
  context = image.all
}

image "from_registry" {
  context           = "docker-image://docker.io/library/node:22"
  dockerfile_inline = "FROM scratch\nCOPY etc/passwd /\n"
}

# Every attribute of an image.
image "all" {
  context           = "images/base"
  dockerfile_inline = <<-END
    FROM scratch AS last
    COPY . /
  END
  target            = "last"
  args              = { NUMBER = 1, TRUTH = true, UNSET = null, TOKEN = var.token }
  labels            = { "org.example.name" = "all" }
  contexts = {
    src    = "./src"
    node   = "docker-image://docker.io/library/node:22"
    remote = "https://example.com/x.git#main"
  }
  platforms    = ["linux/amd64", "linux/arm/v7"]
  no_cache     = true
  reproducible = false
}

image "plain" {
  context    = null
  dockerfile = "images/base/Dockerfile"
}

image "none" {
  for_each = {}
}

# A bottle over an image that no file builds, on another backend.
bottle "other" {
  image   = "docker.io/library/node:22@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
  backend = "container"
  runtime = "crun"
  pack { platform = "linux/arm64" }
  export {
    path   = "/srv/other"
    format = "oci-dir"
  }
  export {
    path   = "other.tar"
    format = "docker"
  }
  push {
    registry   = registry.plain
    repository = "team/other"
  }
}

# A machine brings in its pack, and has a name of its own.
bottle "small" {
  for_each = local.nets
  image    = image.plain
  backend  = "container"
  machine {
    memory  = "1.5GiB"
    storage = "1TiB"
    env     = { NET = each.value, PEER = bottle.other.pack.digest == "" ? null : "set", TOKEN = var.token }
    network {
      allow_hosts = concat(var.hosts, ["*.example.org"])
      allow_cidrs = [each.value]
    }
    file "/etc/motd" {
      content = templatefile("files/motd.tmpl", { name = each.key, hosts = var.hosts })
    }
    file "/etc/prompt" {
      content = local.prompt
      mode    = "755"
      owner   = "1000:1000"
    }
    provision {
      exec = ["true"]
      user = "node"
    }
    ready {
      http     = "http://:80/healthz"
      timeout  = "2m"
      interval = "1.5s"
    }
  }
}

bottle "nothing" {
  image = image.plain
}

bottle "open" {
  image = image.all
  machine {
    name    = "open"
    workdir = "/"
    network {
      open        = true
      allow_hosts = null
    }
    port {
      host  = 2222
      guest = 22
    }
    ready { tcp = 22 }
  }
}

secret "agent" {
  env     = "AGENT_TOKEN"
  version = "2"
}

# What a machine can be told about its life, on the backend that dials inside.
bottle "life" {
  image   = image.plain
  backend = "container"
  machine {
    secrets   = { TOKEN = secret.agent, NONE = null }
    restart   = "on-failure"
    on_error  = "keep"
    self_test = false
    file "/etc/ssl/ca.bin" { source = "files/binary" }
    file "/etc/empty" { content = "" }
    provision {
      exec              = ["apt-get", "update"]
      env               = { DEBIAN_FRONTEND = "noninteractive", NONE = null }
      timeout           = "5m"
      retries           = 2
      continue_on_error = true
    }
    ready { http = "http://:8080/" }
    check "network" { exec = ["ping", "-c1", "example.com"] }
    check "user" {
      exec    = ["id"]
      user    = "node:node"
      timeout = "1m"
      retries = 0
    }
  }
}

group "nets" { targets = [bottle.small["a"], "bottle.open.machine"] }
output "nets" { value = local.nets }
