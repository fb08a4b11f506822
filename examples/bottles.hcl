# Three machines from two images. `make demo` runs this file; by hand, after
# `make build example`:
#
#   bottlebuild plan examples/bottles.hcl      what would run, and why
#   bottlebuild run  examples/bottles.hcl      run it
#   bottlebuild exec hello-ada -- /server get http://localhost:8080/

variable "greeting" {
  type        = string
  default     = "hello"
  description = "What the web servers say."
}

variable "backend" {
  type        = string
  default     = "auto" # smolvm where it can work, else container; it says which
  description = "What boots the machines: smolvm, container or auto."
}

locals {
  people = {
    ada   = { port = 18081 }
    grace = { port = 18082 }
  }
}

# In this process and on loopback only: it serves the cache itself.
registry "scratch" {
  embedded = true
}

image "web" {
  context = "images/web"
  args    = { GREETING = var.greeting }
}

image "clock" {
  context  = "images/clock"
  contexts = { web = image.web } # FROM web: an edge that carries a digest
}

# Two machines over one image: one build, one pack, two boots.
bottle "hello" {
  for_each = local.people
  image    = image.web
  backend  = var.backend

  pack {}
  machine {
    name    = "hello-${each.key}"
    cpus    = 1
    memory  = "256MiB"
    replace = "always" # their disks hold nothing that a new one would lack
    env     = { GREETING = "${var.greeting}, ${each.key}" }

    port {
      host  = each.value.port
      guest = 8080
    }
    ready {
      http     = "http://:8080/healthz"
      timeout  = "30s"
      interval = "100ms"
    }
  }
}

# One with an image of its own, which is also exported and pushed.
bottle "clock" {
  image   = image.clock
  backend = var.backend

  export {
    path   = "dist/clock.tar"
    format = "oci"
  }
  push {
    registry   = registry.scratch
    repository = "clock"
    tags       = ["dev"]
  }
  pack {}
  machine {
    name    = "clock"
    cpus    = 1
    memory  = "256MiB"
    replace = "always"

    port {
      host  = 18083
      guest = 8080
    }
    file "/etc/clock.conf" {
      content = "zone = UTC\n"
      mode    = "0600"
    }
    ready {
      http     = "http://:8080/healthz"
      timeout  = "30s"
      interval = "100ms"
    }
  }
}

output "machines" {
  value = concat([for b in bottle.hello : b.machine.name], [bottle.clock.machine.name])
}

output "clock_pack" {
  value = bottle.clock.pack.digest
}
