variable "node" {
  type    = string
  default = "22"
}

variable "agents" {
  type = map(object({ role = string, port = number, cpus = optional(number, 2) }))
  default = {
    claude = { role = "anthropic", port = 8081 }
    codex  = { role = "openai", port = 8082, cpus = 4 }
  }
  validation {
    condition     = alltrue([for a in values(var.agents) : contains(keys(local.egress), a.role)])
    error_message = "Each agent's role needs an entry in local.egress."
  }
}

locals {
  egress = { for r in ["anthropic", "openai"] : r => ["api.${r}.com", "github.com"] }
}

registry "scratch" { embedded = true } # in-process, loopback, no upload: serves the cache itself
registry "prod" { url = "registry.example.com/acme" }

image "base" {
  context = "images/base"
  args    = { NODE = var.node }
}

image "agent" {
  for_each = var.agents
  context  = "images/${each.key}"
  contexts = { base = image.base } # `FROM base` in that Dockerfile: an edge that carries a digest
}

bottle "agent" {
  for_each = var.agents
  image    = image.agent[each.key] # or a reference string: "docker.io/library/node:22@sha256:…"
  backend  = "smolvm"              # smolvm (default) | container | auto

  export { # repeatable
    path   = "dist/${each.key}.tar"
    format = "oci" # oci | docker | oci-dir
  }
  push { # repeatable
    registry   = registry.prod
    repository = "agent-${each.key}"
    tags       = ["dev"]
  }
  pack {}
  machine {
    name    = "bottle-${each.key}"
    cpus    = each.value.cpus
    memory  = "6GiB"
    env     = { DISABLE_ERROR_REPORTING = "1" }
    user    = "node"
    workdir = "/home/node"
    replace = "if-stopped" # never | if-stopped | always, when the spec no longer matches

    network { # absent or empty: no network at all
      allow_hosts = local.egress[each.value.role]
    }
    file "/home/node/prompt.txt" {
      content = "You are …"
      mode    = "0600"
      owner   = "node"
    }
    port {
      host  = each.value.port
      guest = 80
    }
    volume {
      host     = "./src"
      guest    = "/workspace"
      readonly = true
    }
    provision { # in order, once per created machine
      exec = ["chown", "-R", "node:node", "/home/node"]
    }
    ready { # exec, or tcp = 80, or http = "http://:80/healthz"
      exec     = ["test", "-w", "/home/node"]
      timeout  = "30s"
      interval = "500ms"
    }
  }
}

group "default" { targets = [bottle.agent] }
output "packs" { value = { for k, b in bottle.agent : k => b.pack.digest } }
