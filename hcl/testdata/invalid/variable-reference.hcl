variable "a" { default = "x" }
variable "b" {
  default = var.a # error: default may not refer to other values
}
variable "c" {
  sensitive = var.a # error: sensitive may not refer to other values
}
