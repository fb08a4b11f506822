# var list=["hunter2", 3
variable "s" {
  type      = string
  default   = "hunter2"
  sensitive = true
}
variable "m" {
  type      = map(string)
  default   = { a = "hunter2" }
  sensitive = true
}
variable "list" { # error: is not a valid expression of type list(number)
  type      = list(number)
  sensitive = true
}
variable "v" {
  default   = "xhunter2"
  sensitive = true
  validation {
    condition     = startswith(var.v, "a") # error: the message is not shown
    error_message = "Not ${var.v}."
  }
}
locals {
  n = parseint(var.s, 10) # error: the expression uses a sensitive value
  o = { for k, v in var.m : k => parseint(v, 10) } # error: the expression uses a sensitive value
  p = merge({ for k, v in var.m : k => tonumber(v) }, {}) # error: the expression uses a sensitive value
}
bottle "b" {
  image = "alpine:3"
  machine {
    name    = var.s # error: it may not be sensitive
    memory  = var.s # error: (sensitive value)
    workdir = var.s # error: (sensitive value) does not
    cpus    = var.s # error: it is not a number
    replace = var.m.a # error: (sensitive value)
    user    = "${var.s} x" # error: (sensitive value)
    env     = var.m
    ready {
      http    = var.s # error: (sensitive value)
      timeout = var.s # error: (sensitive value)
    }
    network {
      allow_hosts = ["${var.s}:80"] # error: (sensitive value) has a port
    }
    port {
      host  = var.s # error: host is a number
      guest = 1
    }
  }
  push {
    registry   = var.s # error: url = (sensitive value)
    repository = "x"
    tags       = ["${var.s}!"] # error: (sensitive value)
  }
}
image "names" {
  dockerfile_inline = "FROM scratch"
  target            = var.s # error: may not be sensitive
  contexts          = { x = var.s } # error: may not be sensitive
  annotations       = { "x:${var.s}" = 1 } # error: (sensitive value): the reason is not shown
  secrets           = { (var.s) = "x" } # error: may not be sensitive
}
