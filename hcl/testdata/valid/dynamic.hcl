variable "ports" {
  type    = map(number)
  default = { http = 80, debug = 6060 }
}
variable "boot" { default = true }
registry "prod" { url = "registry.example.com/acme" }
image "base" {}

bottle "agent" {
  for_each = { a = 10000, b = 20000 }
  image    = image.base

  dynamic "export" {
    for_each = each.key == "a" ? ["oci", "docker"] : ["oci"]
    content {
      path   = "dist/${each.key}-${export.key}.tar"
      format = export.value
    }
  }
  dynamic "push" {
    for_each = toset(["x", "y"])
    iterator = to
    content {
      registry   = registry.prod
      repository = "${each.key}-${to.value}"
    }
  }
  dynamic "machine" {
    for_each = var.boot ? [1] : []
    content {
      cpus = 2
      port {
        host  = each.value
        guest = 1
      }
      dynamic "port" {
        for_each = var.ports
        content {
          host  = each.value + port.value
          guest = port.value
        }
      }
      dynamic "file" {
        for_each = { for n in ["one", "two"] : n => image.base.digest }
        labels   = ["/etc/${file.key}"]
        content {
          content = file.value
        }
      }
    }
  }
}
output "exports" { value = { for k, b in bottle.agent : k => length(b.export) } }
