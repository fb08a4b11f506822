image "a" {
  dockerfile_inline = "FROM scratch"
  args = {
    A = pow(-1, 0.5) # error: no result for these values
  }
  labels = { a = 1 / 0 } # error: infinite
}
image "b" {
  dockerfile_inline = "FROM scratch"
  args = {
    A = (1 / 0) % 3 # error: no result for these values
  }
  labels = {
    a = jsondecode("[1e99999999]")[0] # error: exponent of a number
  }
}
image "c" {
  dockerfile_inline = "FROM scratch"
  args = {
    A = tonumber("1e99999999") # error: exponent may be at most
  }
  labels = {
    a = jsonencode("1e9999999" + 1) # error: beyond 2 to the power
  }
}
image "d" {
  dockerfile_inline = "FROM scratch"
  args = { A = "x${"1e99999999" + 1}" } # error: beyond 2 to the power
  labels = { a = "x${max("1e99999999", 1)}" } # error: beyond 2 to the power
}
image "e" {
  dockerfile_inline = "FROM scratch"
  args = { A = "x${-"1e99999999"}" } # error: beyond 2 to the power
  labels = { a = "x${sum(["1e99999999", 1])}" } # error: beyond 2 to the power
}
image "f" {
  dockerfile_inline = "FROM scratch"
  args = { A = format("%s", abs("1e99999999")) } # error: beyond 2 to the power
  labels = { a = "x${parseint("1${join("", [for i in range(1000) : "00"])}", 10)}" } # error: beyond 2 to the power
}
image "g" {
  dockerfile_inline = "FROM scratch"
  args = { A = format("%d", "1e99999999") } # error: exponent of a number in it is over
  labels = { a = format("%s %d", sha256("a"), "1p99999999") } # error: exponent of a number in it is over
  target = join("", formatlist("%x", ["1e99999999"])) # error: exponent of a number in it is over
}
