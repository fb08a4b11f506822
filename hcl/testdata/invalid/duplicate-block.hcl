image "a" {}
bottle "b" {
  image = image.a
  pack {}
  pack {} # error: the first is at bottles.hcl:4
  machine {}
  machine {} # error: at most one machine block
}
