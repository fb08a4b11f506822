variable "list" { default = ["a"] }
image "a" { 
  for_each = ["a", "b"] # error: Write toset(…) around a list of strings
}
image "b" {
  for_each = 3 # error: this is a number
}
image "c" {
  for_each = null # error: For no instances write {}
}
image "d" {
  for_each = toset([1, 2]) # error: this is a set of number
}
image "e" {
  for_each = toset([""]) # error: Its keys may not be null or empty
}
image "f" {
  for_each = tolist(var.list) # error: this is a list of string
}
