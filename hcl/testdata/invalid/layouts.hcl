image "a" {
  contexts = { x = "oci-layout://layouts/godo" } # error: Did you mean "good"?
}
image "b" {
  contexts = { x = "oci-layout://src" } # error: there is no file oci-layout in it
}
image "c" {
  contexts = { x = "oci-layout://layouts/broken" } # error: parse index.json
}
image "d" {
  contexts = { x = "oci-layout://layouts/empty" } # error: it has no images
}
image "e" {
  contexts = { x = "oci-layout://layouts/good:v2" } # error: none of its images has the tag "v2"; it has: v1
}
image "f" {
  contexts = { x = "oci-layout://layouts/good:" } # error: is empty
}
image "g" {
  contexts = { x = "oci-layout://layouts/good@sha256:12" } # error: 64 hexadecimal digits
}
image "h" {
  contexts = { x = "oci-layout://layouts/good@sha256:2222222222222222222222222222222222222222222222222222222222222222" } # error: no such file
}
image "i" {
  contexts = { x = "oci-layout://:v1" } # error: without a directory
}
image "j" {
  context = "oci-layout://layouts/godo" # error: Did you mean "good"?
}
image "k" {
  context = "docker-image://Alpine" # error: is in lower case
}
image "l" {
  contexts = { x = "oci-layout://src/main.c" } # error: not a directory
}
image "m" {
  context    = image.a
  dockerfile = "Dockerfil" # error: Did you mean "Dockerfile"?
}
image "n" {
  context = [image.a] # error: context is a string
}
image "o" {
  context = "oci-layout://layouts/good:v1"
  contexts = {
    Context = "./src" # error: means something of its own in Dockerfiles
  }
}
