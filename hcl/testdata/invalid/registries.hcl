registry "a" {} # error: Write embedded = true, or url
registry "b" {
  embedded = true
  url      = "example.com" # error: Remove one of the two
}
registry "c" {
  url = "https://registry.example.com/acme" # error: url = "registry.example.com/acme"
}
registry "d" {
  url = "acme/tools" # error: does not start with a host
}
registry "e" {
  url = "registry.example.com/" # error: It ends with a slash
}
registry "f" {
  url = "registry.example.com/Acme" # error: is not a host
}
bottle "x" {
  image = "alpine:3"
  push {
    registry   = "f" # error: Did you mean registry.f?
    repository = "x"
  }
  push {
    registry   = "registry.example.com" # error: Declare registry "NAME" { url = "registry.example.com" }
    repository = "x"
  }
}
