image "a" {
  context = = "images/base" # error: Invalid expression
}
