bottle "b" {
  image = "alpine:3"
  machine {
    volume { # error: needs the attribute "host"
      guest = "/src"
    }
  }
}
