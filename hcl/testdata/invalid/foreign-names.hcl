image "web" {
  tags = ["acme/web"] # error: An image is pushed by a bottle
  inherits = ["base"] # error: args = merge(local.args, { … })
  matrix = { os = ["a"] } # error: Write for_each
  extra-hosts = { a = "10.0.0.1" } # error: Write add_hosts
  cpus = 2 # error: There is no attribute "cpus" in an image block. It stands in a machine block.
}
target "web" { # error: A target of bake is an image here
}
resource "x" "y" { # error: There are images and bottles
}
bottle "web" {
  image = "alpine:3"
  port { # error: It stands in a machine block.
    host = 1
  }
  machine {
    ports = ["80:80"] # error: Write a port block for each
  }
}
locals {
  a = reverselist(["a"]) # error: It is called reverse here.
  b = bcrypt("x") # error: There is no randomness here
  c = nothinglikeit("x") # error: docs/bottlefile.md lists those that there are.
}
variable "s" {
  type = list(integer) # error: Did you mean "number"?
}
variable "t" {
  type = frobnicate # error: A type is string, number
}
image "cache" {
  cache_to = ["type=regsitry,ref=x"] # error: Did you mean "registry"?
}
