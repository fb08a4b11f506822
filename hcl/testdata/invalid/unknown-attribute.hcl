image "base" {
  contxt = "." # error: Did you mean "context"?
  dockerfile-inline = "FROM scratch" # error: Did you mean "dockerfile_inline"?
  colour = "red" # error: Allowed here: for_each, context
}
