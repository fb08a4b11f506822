bottle "a" { # error: bottle.a → bottle.a
  image = "alpine:3"
  machine {
    name = "x-${bottle.a.machine.name}"
  }
}
