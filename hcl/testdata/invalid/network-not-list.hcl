bottle "b" {
  image = "alpine:3"
  machine {
    network {
      allow_hosts = "github.com" # error: Wrong type
    }
  }
}
