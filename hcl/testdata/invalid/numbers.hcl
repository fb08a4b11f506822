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
