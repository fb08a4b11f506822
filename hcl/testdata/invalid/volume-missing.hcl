bottle "b" {
  image = "alpine:3"
  machine {
    volume { # error: A volume needs host
      guest = "/src"
    }
  }
}
