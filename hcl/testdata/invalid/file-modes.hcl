bottle "b" {
  image = "alpine:3"
  machine {
    file "/a" {
      content = ""
      mode    = 600 # error: write "0600" in quotes
    }
    file "/b" {
      content = ""
      mode    = "0999" # error: three octal digits
    }
    file "/c" {
      content = ""
      mode    = "rw-" # error: not "rw-"
      owner   = "no body" # error: owner is a name or number
    }
    file "d/e" { # error: Did you mean "/d/e"?
      content = ""
    }
    file "/proc/x" { # error: /proc is not on the machine's disk
      content = ""
    }
    file "/a" { # error: /a is written at bottles.hcl:4 already
      content = "again"
    }
  }
}
