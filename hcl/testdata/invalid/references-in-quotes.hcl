image "a" {
  dockerfile_inline = "FROM scratch"
  contexts          = { x = "image.b" } # error: Did you mean image.b, without quotes?
}
image "b" {
  context = "image.a" # error: Did you mean image.a, without quotes?
}
registry "r" {
  url = "localhost:5000"
}
registry "port" {
  url = "example.com:99999" # error: not a host, with a port
}
bottle "a" {
  image = "image.a" # error: Did you mean image.a, without quotes?
  push {
    repository = "x"
    registry   = "registry.r" # error: Did you mean registry.r, without quotes?
  }
  export {
    path = "bottles.hcl" # error: the bottle file itself
  }
  export {
    path = "images" # error: is a directory
  }
  export {
    path   = "Dockerfile" # error: is a file
    format = "oci-dir"
  }
}
image "twice" {
  dockerfile_inline = "FROM scratch"
  platforms         = ["linux/amd64", "linux/amd64"] # error: stands twice
}
