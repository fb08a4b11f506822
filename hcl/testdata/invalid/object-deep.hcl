variable "agents" {
  type    = map(object({ port = number }))
  default = { claude = { port = "eighty" } } # error: a number is required
}
