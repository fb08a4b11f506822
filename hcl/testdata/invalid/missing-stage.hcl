image "a" {}
bottle "one" {
  image = image.a
  push { 
    registry   = registry.r
    repository = "one"
  }
}
registry "r" { embedded = true }
bottle "two" {
  image = image.a
  machine {
    env = {
      A = bottle.one.pack.digest # error: bottle.one has no pack: its bottle has no pack block. Write one.
      B = bottle.one.push[1].ref # error: has 1 elements, counted from 0; there is no element 1
      C = bottle.one.push[0].reff # error: Did you mean "ref"?
      D = image.a.tag # error: image.a has no attribute "tag"
    }
  }
}
