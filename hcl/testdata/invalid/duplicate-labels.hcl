image "a" {}
image "a" {} # error: image.a is declared at bottles.hcl:1 already
bottle "a" { image = image.a }
bottle "a" { image = image.a } # error: bottle.a is declared at bottles.hcl:3 already
variable "v" { default = 1 }
variable "v" { default = 2 } # error: variable.v is declared at bottles.hcl:5 already
locals { x = 1 }
locals { x = 2 } # error: local.x is declared at bottles.hcl:7 already
group "g" { targets = [] }
group "g" { targets = [] } # error: group.g is declared at bottles.hcl:9 already
output "o" { value = 1 }
output "o" { value = 2 } # error: output.o is declared at bottles.hcl:11 already
registry "r" { embedded = true }
registry "r" { embedded = true } # error: registry.r is declared at bottles.hcl:13 already
