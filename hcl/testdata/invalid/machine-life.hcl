secret "token" { env = "TOKEN" }

bottle "a" {
  image = "alpine:3"
  machine {
    restart   = "on_failure" # error: Did you mean "on-failure"?
    on_error  = "leave"      # error: on_error is "cleanup" or "keep", not "leave"
    self_test = "maybe"      # error: self_test is a bool
    secrets   = { TOKEN = "s3cret" } # error: secrets["TOKEN"] is a secret, such as secret.token, not a string
  }
}
bottle "b" {
  image = "alpine:3"
  machine {
    env     = { TOKEN = "x" }
    secrets = { TOKEN = secret.token, "A B" = secret.token } # error: no spaces and no equals sign & TOKEN is in env and in secrets
  }
}
bottle "c" {
  image = "alpine:3"
  machine {
    secrets = { TOKEN = "token" } # error: Did you mean secret.token?
  }
}
bottle "d" {
  image = "alpine:3"
  machine {
    file "/a" {} # error: Write content = "…", or source = "PATH"
    file "/b" {
      content = "x"
      source  = "files/prompt.txt" # error: either content or source
    }
    file "/c" { source = "/etc/passwd" }      # error: outside of the bottle file's directory
    file "/d" { source = "../up.txt" }        # error: outside of the bottle file's directory
    file "/e" { source = "files/promt.txt" }  # error: it does not exist. Did you mean "prompt.txt"?
    file "/f" { source = "files" }            # error: not a regular file
    file "/g" { source = "" }                 # error: source is empty
    provision {
      exec    = ["true"]
      timeout = "30 sec" # error: Did you mean "30s"?
      retries = -1       # error: retries is a whole number from 0 to 1000, not -1
    }
    provision {
      exec              = ["true"]
      env               = { "A=B" = "c" } # error: no spaces and no equals sign
      continue_on_error = 2               # error: continue_on_error is a bool
    }
    check "a" { exec = [] }       # error: Empty command
    check "b" { command = "id" }  # error: There is no attribute "command" in a check block & Missing attribute "exec"
    check "" { exec = ["true"] }  # error: The name of a check is empty
    check "c" {
      exec    = ["true"]
      timeout = "soon" # error: "soon" is not a duration
      user    = "a b"  # error: user is a name or number
    }
    check "c" { exec = ["true"] } # error: c is a check at
  }
}
bottle "e" {
  image = "alpine:3"
  machine {
    port {
      host  = 8080
      guest = 8080
    }
    ready { tcp = 80 } # error: none of this machine's port blocks has guest = 80
  }
}
bottle "f" {
  image = "alpine:3"
  machine {
    ready { http = "http://:8080/" } # error: Add port { host = …, guest = 8080 }
  }
}
bottle "g" {
  image   = "alpine:3"
  backend = "auto"
  machine {
    ready { tcp = 80 } # warning: Where auto chooses smolvm
  }
}
