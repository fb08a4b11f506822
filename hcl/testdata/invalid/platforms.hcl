image "a" {
  platforms = ["linux/x86_64"] # error: platforms[0] is "linux/x86_64"
}
image "only" {
  platforms = ["linux"] # error: Did you mean "linux/amd64"?
}
image "b" {
  platforms = ["linux/amd64", "arm64"] # error: Did you mean "linux/arm64"?
}
bottle "c" {
  image = image.a
  pack {
    platform = "Linux/amd64" # error: Did you mean "linux/amd64"?
  }
}
