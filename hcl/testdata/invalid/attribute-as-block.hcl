bottle "b" { # error: Missing attribute "image"
  pack = true # error: "pack" is a block: write it without the equals sign
  backend {} # error: "backend" is an attribute: write it with an equals sign
}
