bottle "a" {
  image = "alpine:3"
  machine {
    workdir = "home/node" # error: Did you mean "/home/node"?
    volume {
      host  = "~/src" # error: ~ is not expanded
      guest = "/src"
    }
    volume {
      host  = "src"
      guest = "src" # error: Did you mean "/src"?
    }
    volume {
      host  = "src"
      guest = "/src" # error: /src is a volume at bottles.hcl:7 already
    }
    volume {
      host  = "src"
      guest = "/" # error: is the root directory of the machine
    }
  }
}
bottle "b" {
  image = "alpine:3"
  export { path = "out/x.tar" }
  export { path = "./out/x.tar" } # error: bottle.b.export[0] and bottle.b.export[1] both write
  export { path = "out/" } # error: names a directory, and format oci writes a file
}
