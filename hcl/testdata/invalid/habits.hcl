variable "v" {
  default = "x"
  validation {
    condition     = true
    error_message = "" # error: is empty, and required
  }
}
locals {
  here = "${path.module}/x" # error: Paths in a bottle file are relative to it
  two  = [for i in range(count.index) : i] # error: There is no count
  bake = target.base # error: A target of bake is an image here
}
image "a" {
  for_each          = toset([1, 2]) # error: this is a set of number
  dockerfile_inline = "FROM scratch"
}
image "b" {
  dockerfile_inline = "FROM scratch"
  max_age           = "7d" # error: Did you mean "168h"?
}
bottle "a" {
  image = image.a["x"]
  machine {
    env = ["A=B"] # error: Write { NAME = "value" }
  }
}
