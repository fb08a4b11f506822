image "a" {
  context = "images/bsae" # error: Did you mean "base"?
}
image "b" {
  context = "Dockerfile" # error: is a file
}
image "c" {
  context = "src" # error: No such Dockerfile
}
image "d" {
  dockerfile = "Dockerfil" # error: Did you mean "Dockerfile"?
}
image "e" {
  dockerfile        = "Dockerfile"
  dockerfile_inline = "FROM scratch" # error: either dockerfile or dockerfile_inline
}
image "f" {
  context = "https://example.com/y.tar" # error: ADD --unpack=true URL
}
image "g" {
  contexts = { lib = "./lib" } # error: lib: it does not exist
}
image "h" {
  contexts = image.a # error: not a single image
}
image "i" {
  contexts = { x = [1] } # error: contexts["x"] is a string
}
image "j" {
  context = "" # error: context is empty
}
