bottle "a" {
  image   = "alpine:3"
  backend = "smolVM" # error: Did you mean "smolvm"?
  export {
    path   = "a.tar"
    format = "ocidir" # error: Did you mean "oci-dir"?
  }
  machine {
    replace = "if_stopped" # error: Did you mean "if-stopped"?
  }
}
bottle "b" {
  image   = "alpine:3"
  backend = "docker" # error: backend is "smolvm", "container" or "auto", not "docker"
}
bottle "c" {
  image   = "alpine:3"
  runtime = "crun" # error: runtime is of the container backend
}
