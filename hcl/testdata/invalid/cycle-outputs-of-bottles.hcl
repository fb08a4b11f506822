image "base" {}
bottle "a" {
  image = image.base
  machine { # error: bottle.a.machine → bottle.b.machine → bottle.a.machine
    env = { PEER = bottle.b.machine.name }
  }
}
locals { peer = bottle.a.machine.name }
bottle "b" {
  image = image.base
  machine {
    env = { PEER = local.peer }
  }
}
