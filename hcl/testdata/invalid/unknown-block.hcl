imaeg "base" { # error: Did you mean "image"?
}
outputs "x" { # error: Did you mean "output"?
}
service "x" {} # error: Allowed here: bottlebuild, variable
