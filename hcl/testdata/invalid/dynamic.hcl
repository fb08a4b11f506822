image "base" {
  dynamic "label" {} # error: Unknown block "dynamic"
}
bottle "b" {
  image = "alpine:3"
  dynamic "exprt" { # error: Did you mean "export"?
    for_each = []
    content {}
  }
  dynamic "push" { # error: needs the attribute "for_each"
    content {
      registry   = registry.r
      repository = "x"
    }
  }
  dynamic "export" {
    for_ech = [] # error: Did you mean "for_each"?
    content {
      pth = "a.tar" # error: Did you mean "path"?
    }
  }
  machine {
    dynamic "port" { # error: exactly one content block
      for_each = [1]
    }
    dynamic "file" { # error: A file block has a label
      for_each = [1]
      content { content = "" }
    }
    dynamic "volume" {
      for_each = []
      labels   = ["x"] # error: has no labels
      iterator = "each value" # error: iterator is a name
      content {
        host  = "."
        guest = "/x"
      }
    }
    dynmic "port" { # error: Did you mean "dynamic"?
    }
  }
}
registry "r" { embedded = true }
