bottle "a" {
  image = "alpine:3"
  machine {
    port {
      host  = 70000 # error: host is a whole number from 1 to 65535, not 70000
      guest = 80
    }
    port {
      host  = 8080
      guest = 0 # error: guest is a whole number from 1 to 65535
    }
  }
}
