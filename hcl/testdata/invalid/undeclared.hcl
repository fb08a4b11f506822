variable "node" { default = "22" }
locals { base = "images/base" }
image "base" {
  context = local.bas # error: Did you mean local.base?
  args = {
    A = var.nodes # error: Did you mean var.node?
    B = local.node # error: Did you mean var.node?
  }
}
bottle "b" {
  image = image.bsae # error: Did you mean image.base?
}
bottle "c" {
  image = bottle.d # error: There is no bottle.d. There is: bottle.b, bottle.c.
}
