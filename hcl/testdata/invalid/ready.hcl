bottle "a" {
  image = "alpine:3"
  machine {
    ready {} # error: exactly one of exec, tcp and http
  }
}
bottle "b" {
  image = "alpine:3"
  machine {
    ready {
      exec = ["true"]
      tcp  = 80 # error: this one has "exec" or "tcp"
    }
  }
}
bottle "c" {
  image = "alpine:3"
  machine {
    ready { http = "http://localhost/healthz" } # error: Did you mean "http://:80/healthz"?
  }
}
bottle "d" {
  image = "alpine:3"
  machine {
    ready { http = "https://:80/" } # error: does not start with http://
  }
}
bottle "e" {
  image = "alpine:3"
  machine {
    ready { http = "http:///x" } # error: has no port
  }
}
bottle "f" {
  image = "alpine:3"
  machine {
    ready { exec = [] } # error: Empty command
  }
}
bottle "g" {
  image = "alpine:3"
  machine {
    provision { exec = "rm -rf /" } # error: exec is a list of string
  }
}
