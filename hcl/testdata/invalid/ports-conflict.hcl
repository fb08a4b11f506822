bottle "a" {
  image = "alpine:3"
  machine {
    port {
      host  = 8080
      guest = 80
    }
  }
}
bottle "b" {
  image = "alpine:3"
  machine {
    port {
      host  = 8080 # error: bottle.a.machine and bottle.b.machine both publish port 8080
      guest = 80
    }
  }
}
bottle "twice" {
  image = "alpine:3"
  machine {
    port {
      host  = 7070
      guest = 80
    }
    port {
      host  = 7070 # error: bottle.twice.machine publishes port 7070 of the host twice
      guest = 81
    }
  }
}
bottle "c" {
  for_each = toset(["x", "y"])
  image    = "alpine:3"
  machine {
    port {
      host  = 9090 # error: Instances of one for_each differ by each.key
      guest = 80
    }
  }
}
