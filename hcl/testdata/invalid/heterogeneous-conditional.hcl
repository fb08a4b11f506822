image "a" {}
image "b" {}
bottle "c" {
  image = image.a.digest == "x" ? image.a : image.b # error: Which image image is must be known before anything runs
}
