image "a" { dockerfile_inline = "FROM scratch" }
bottle "a" {
  image   = image.a
  backend = "container"
  machine {
    volume { # error: A volume needs host, a directory on the host, or name
      guest = "/a"
    }
    volume {
      host  = "data"
      name  = "data" # error: Remove host or name
      guest = "/b"
    }
    volume {
      name  = "../data" # error: a volume's name has letters, digits
      guest = "/c"
    }
    volume {
      name  = "twice"
      guest = "/d"
    }
    volume {
      name  = "twice" # error: Duplicate volume
      guest = "/e"
    }
    volume {
      name  = "same"
      guest = "/d" # error: Duplicate volume
    }
    volume {
      name  = "" # error: name is empty
      guest = "/f"
    }
  }
}
