bottle "a" {
  image = "alpine:3"
  machine { name = "My_Bottle" } # error: Did you mean "my-bottle"?
}
bottle "b" {
  image = "alpine:3"
  machine { name = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" } # error: too long
}
bottle "c" {
  image = "alpine:3"
  machine { name = "same" }
}
bottle "d" {
  image = "alpine:3"
  machine { name = "same" } # error: bottle.c.machine and bottle.d.machine are both named "same"
}
bottle "e" {
  for_each = toset(["x", "y"])
  image    = "alpine:3"
  machine { name = "fixed" } # error: Instances of one for_each differ by each.key
}
bottle "f" {
  for_each = toset(["x.y.ggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggggg"])
  image    = "alpine:3"
  machine {} # error: Write name = "…"
}
image "g" {}
bottle "h" {
  image = image.g
  machine { name = image.g.digest } # error: name must be known before anything runs, and this depends on what is known only after image.g has run
}
