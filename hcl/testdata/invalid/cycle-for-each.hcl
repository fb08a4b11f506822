image "a" {
  for_each = image.b # error: image.a (for_each) → image.b → image.b (for_each) → image.a → image.a (for_each)
}
image "b" {
  for_each = image.a
}
