bottle "b" {
  image = "alpine:3"
  machine {
    replace = "if-stoped" # error: Did you mean "if-stopped"?
  }
}
