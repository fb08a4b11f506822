image "base" {}
bottle "a" {
  image = "docker.io/library/node@sha256:abc" # error: the digest has 3 hex digits, not 64
}
bottle "b" {
  image = "Docker.io/Library/Node" # error: a repository is in lower case
}
bottle "c" {
  image = "https://docker.io/library/node" # error: a reference has no scheme
}
bottle "d" {
  image = "image.base!" # error: Did you mean image.base
}
image "e" {
  contexts = {
    a = "docker-image://node@sha256:12" # error: the digest has 2 hex digits, not 64
  }
}
image "f" {
  contexts = { base = "target:base" } # error: as image.base
}
