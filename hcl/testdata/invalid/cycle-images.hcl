image "a" { # error: image.a → image.b → image.c → image.a
  contexts = { x = image.b }
}
image "b" {
  contexts = { x = image.c }
}
image "c" {
  args = { A = image.a.digest }
}
image "self" { # error: image.self → image.self
  contexts = { x = image.self }
}
