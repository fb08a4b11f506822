locals {
  a = file("../outside") # error: outside of the bottle file's directory
  b = file("/etc/passwd") # error: outside of the bottle file's directory
  c = file("nope.txt") # error: it does not exist
  d = file("files") # error: it is not a regular file
  e = file("files/binary") # error: it is not UTF-8
  f = templatefile("files/motd.tmpl", { name = "x" }) # error: uses "hosts"
  g = fileset("..", "*") # error: outside
  h = cidrsubnet("10.0.0.0/8", 30, 1) # error: room for 24 more bits
  i = stable_subnet("10.0.0.0", 8, "x") # error: it is not a network
  j = format("%99999d", 1) # error: at most four digits
  k = sum([]) # error: there is nothing to sum
  l = one([1, 2]) # error: at most one element
  m = base64decode("!") # error: it is not base64
  n = index(["a"], "b") # error: the value is not in the list
  o = lookup({ a = 1 }, "b") # error: there is no element "b"
  p = strlen() # error: Not enough function arguments
}
