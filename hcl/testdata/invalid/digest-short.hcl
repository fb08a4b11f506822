bottle "b" {
  image = "node@sha256:abc" # error: the digest has 3 hex digits, not 64
  pack {}
}
