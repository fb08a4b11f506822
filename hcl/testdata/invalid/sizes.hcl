bottle "b" {
  image = "alpine:3"
  machine {
    memory  = "6Gib" # error: Did you mean "6GiB"?
    storage = "20 GB" # error: Did you mean "20GiB"?
  }
}
bottle "c" {
  image = "alpine:3"
  machine {
    memory  = 6144 # error: memory needs a unit: write "6144MiB" or "6144GiB"
    storage = "512MiB" # error: storage is a whole number of GiB
  }
}
bottle "d" {
  image = "alpine:3"
  machine {
    memory  = "6144" # error: Did you mean "6144MiB"?
    storage = "large" # error: is a number and a unit
    cpus    = 0.5 # error: cpus is a whole number from 1 to 1024, not 0.5
  }
}
