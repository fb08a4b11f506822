variable "s" {
  default   = "hunter2"
  sensitive = true
}
image "a" {}
output "a" { value = var.s } # error: Write sensitive = true in it
output "b" { value = image.a.digst } # error: Did you mean "digest"?
output "c" {} # error: needs the attribute "value"
