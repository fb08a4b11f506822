output "o" {
  value = image.base.digst # error: Did you mean "digest"?
}
image "base" {}
