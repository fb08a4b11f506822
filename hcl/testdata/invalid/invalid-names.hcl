image "my image" {} # error: Did you mean "my_image"?
bottle "1st" { image = "alpine" } # error: a name starts with a letter
variable "a.b" { default = 1 } # error: Did you mean "a_b"?
