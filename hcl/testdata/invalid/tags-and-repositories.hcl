registry "r" { embedded = true }
bottle "b" {
  image = "alpine:3"
  push {
    registry   = registry.r
    repository = "Agent" # error: Did you mean "agent"?
    tags       = ["ok", "feature/x"] # error: Did you mean "feature-x"?
  }
  push {
    registry   = registry.r
    repository = "agent:dev" # error: A tag belongs in tags
    tags       = [".dev"] # error: starts with none of the last two marks
  }
  push {
    registry   = registry.r
    repository = "agent"
    tags       = ["a", "a"] # error: which is in the list already
  }
}
