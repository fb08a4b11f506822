# Bottles for coding agents. An agent runs as its user in a machine of its own,
# and reaches nothing but a proxy on the host, which decides what it may ask of
# the world and puts the real credentials into its requests: the machine has
# none.
#
#   bottlebuild plan examples/agent
#   bottlebuild run  examples/agent
#   bottlebuild shell bottle-claude
#
# The proxy is yours. examples/agent/proxy is a stand-in that shows its place:
#
#   sudo ip address add 10.213.252.173/32 dev lo
#   go run ./examples/agent/proxy 10.213.252.173:3128

variable "base" {
  type        = string
  default     = "docker.io/library/node:22-bookworm-slim"
  description = "The image that agents are built on: it has a user node, whose home is /home/node."
}

variable "backend" {
  type    = string
  default = "smolvm"
}

variable "agents" {
  type = map(object({ role = string, cpus = optional(number, 2), memory = optional(string, "4GiB") }))
  default = {
    claude = { role = "anthropic" }
    codex  = { role = "openai" }
  }
  validation {
    condition     = alltrue([for a in values(var.agents) : contains(keys(local.credential), a.role)])
    error_message = "Each agent's role needs an entry in local.credential."
  }
}

variable "proxy_network" {
  type        = string
  default     = "10.213.0.0/16"
  description = "Where the proxies are: each bottle's has an address in it that depends on the bottle's name alone."
}

locals {
  proxy_port = 3128
  proxy      = { for name, a in var.agents : name => cidrhost(stable_subnet(var.proxy_network, 14, "bottle-${name}"), 1) }

  # The variable in which each agent looks for its credential. What stands in it
  # is a placeholder, which the proxy replaces.
  credential = { anthropic = "ANTHROPIC_API_KEY", openai = "OPENAI_API_KEY" }

  # The proxy answers for TLS servers with certificates of its own, which every
  # tool has to be told of in its own way.
  ca_file = "/usr/local/share/ca-certificates/egress-proxy.pem"
  ca_env = { for name in [
    "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "PIP_CERT", "AWS_CA_BUNDLE",
  ] : name => local.ca_file }
}

image "agent" {
  context = "images/agent"
  args    = { BASE = var.base }
}

bottle "agent" {
  for_each = var.agents
  image    = image.agent
  backend  = var.backend

  machine {
    name    = "bottle-${each.key}"
    cpus    = each.value.cpus
    memory  = each.value.memory
    user    = "node"
    workdir = "/home/node"
    replace = "if-stopped"

    env = merge(local.ca_env, {
      for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] :
      name => "http://${local.proxy[each.key]}:${local.proxy_port}"
      }, {
      NO_PROXY                            = "localhost,127.0.0.1"
      (local.credential[each.value.role]) = "placeholder-which-the-proxy-replaces"
      DISABLE_ERROR_REPORTING             = "1"
    })

    network {
      allow_cidrs = ["${local.proxy[each.key]}/32"]
    }

    file "/home/node/prompt.txt" {
      content = <<-EOT
        You are ${each.key}, an agent in a machine of your own. Work in /home/node.
        What you need of the world you get through the proxy; nothing else answers.
      EOT
      mode    = "0600"
      owner   = "node"
    }
    # What whoever resumes this bottle needs to know of it.
    file "/etc/bottle.json" {
      content = jsonencode({ name = "bottle-${each.key}", agent = each.key, role = each.value.role, proxy = local.proxy[each.key] })
    }
    file "/usr/local/share/ca-certificates/egress-proxy.pem" {
      source = "files/egress-proxy.pem"
    }

    # Some packs bring the home's files as root's.
    provision {
      exec = ["chown", "-R", "node:node", "/home/node"]
    }
    ready {
      exec = ["test", "-w", "/home/node"]
    }
    check "prompt" {
      exec = ["test", "-r", "/home/node/prompt.txt"]
    }
  }
}

output "proxies" { value = { for name, b in bottle.agent : b.machine.name => "${local.proxy[name]}:${local.proxy_port}" } }
