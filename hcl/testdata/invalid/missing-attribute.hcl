image "a" {}
bottle "b" {
  image = image.a
  push {} # error: needs the attribute "registry" & needs the attribute "repository"
  export {} # error: needs the attribute "path": where to write it
  machine {
    port { host = 1 } # error: needs the attribute "guest"
    file "/x" {} # error: or source = "PATH"
    provision {} # error: needs the attribute "exec"
  }
}
