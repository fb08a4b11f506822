image {} # error: All image blocks must have 1 labels
bottle "a" "b" { # error: Extraneous label for bottle
  image = "x"
}
