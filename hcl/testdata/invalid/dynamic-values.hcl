image "base" {}
bottle "b" {
  image = image.base
  dynamic "export" {
    for_each = 3 # error: for_each takes a list, set, map or object
    content { path = "a.tar" }
  }
  dynamic "export" {
    for_each = [image.base.digest].*.x # error: Unsupported attribute
    content { path = "a.tar" }
  }
  dynamic "push" {
    for_each = split(",", image.base.digest) # error: must be known before anything runs
    content {
      registry   = registry.r
      repository = "x"
    }
  }
  dynamic "pack" { # error: at most one pack block
    for_each = [1, 2]
    content {}
  }
  machine {
    dynamic "port" {
      for_each = { a = 80, b = "http" }
      content {
        host  = port.value # error: a number is required
        guest = prt.value # error: Unknown reference
      }
    }
    dynamic "file" {
      for_each = ["etc/a"]
      labels   = [file.value] # error: is a path in the machine
      content { content = "x" }
    }
    env = { A = port.value } # error: There is no "port"
  }
}
registry "r" { embedded = true }
