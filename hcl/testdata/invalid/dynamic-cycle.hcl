bottle "b" { # error: Cycle
  image = "alpine:3"
  dynamic "export" {
    for_each = [bottle.b.machine.name]
    content { path = "a.tar" }
  }
  machine {}
}
