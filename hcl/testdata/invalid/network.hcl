bottle "a" {
  image = "alpine:3"
  machine {
    network {
      open        = true # error: open allows everything
      allow_hosts = ["example.com"]
    }
  }
}
bottle "b" {
  image = "alpine:3"
  machine {
    network {
      allow_hosts = ["https://example.com/x", "10.0.0.0/8", "10.1.2.3", "example.com:443", "exa mple"] # error: a host is written alone: "example.com" & write it in allow_cidrs. & as "10.1.2.3/32" & has a port & is not a host name
      allow_cidrs = ["10.0.0.1/8", "10.0.0.1"] # error: Did you mean "10.0.0.0/8"? & Did you mean "10.0.0.1/32"?
    }
  }
}
bottle "c" {
  image = "alpine:3"
  machine {
    network { # warning: Nothing is allowed here, so the machine has no network at all
      allow_hosts = []
    }
  }
}
