# error: Missing expression
# var count=many
# var ports=[1, "x"]
# var obj={ a = 
variable "count" { # error: The value that --var gives for the variable "count" is not a number
  type = number
}
variable "ports" { # error: at [1], a number is required
  type = list(number)
}
variable "obj" {
  type = object({ a = string })
}
variable "bad" {
  type    = strin # error: The keyword "strin" is not a valid type specification. Did you mean "string"?
  default = "x"
}
variable "deep" {
  type = map(object({ role = string, port = optional(number, 80) }))
  default = { claude = { role = "x", port = "eighty" } } # error: at ["claude"].port, a number is required
}
variable "lacks" {
  type    = map(object({ role = string }))
  default = { claude = { port = 1 } } # error: at ["claude"], attribute "role" is required
}
