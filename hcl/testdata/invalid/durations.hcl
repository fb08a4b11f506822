bottle "b" {
  image = "alpine:3"
  machine {
    ready {
      exec     = ["true"]
      timeout  = "30 sec" # error: Did you mean "30s"?
      interval = "500 milliseconds" # error: Did you mean "500ms"?
    }
  }
}
bottle "c" {
  image = "alpine:3"
  machine {
    ready {
      exec     = ["true"]
      timeout  = 30 # error: timeout needs a unit: write "30s"
      interval = "-1s" # error: more than zero
    }
  }
}
bottle "d" {
  image = "alpine:3"
  machine {
    ready {
      exec     = ["true"]
      timeout  = "1s"
      interval = "2s" # error: longer than the timeout
    }
  }
}
