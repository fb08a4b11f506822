image "a" {
  for_each = image.b
}
image "b" {
  for_each = image.a # error: image.a → image.a (for_each) → image.b
}
