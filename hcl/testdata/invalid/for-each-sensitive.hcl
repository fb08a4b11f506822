variable "s" {
  default   = "hunter2"
  sensitive = true
}
image "a" {
  for_each = toset([var.s]) # error: for_each may not be sensitive
}
variable "m" {
  default   = { hunter2 = "x" }
  sensitive = true
}
image "b" {
  for_each = var.m # error: for_each may not be sensitive
}
image "c" {
  for_each = { (var.s) = 1 } # error: for_each may not be sensitive
}
