variable "s" {
  default   = "hunter2"
  sensitive = true
}
image "a" {
  for_each = toset([var.s]) # error: for_each may not be sensitive
}
