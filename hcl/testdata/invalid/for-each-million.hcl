locals { k = [for i in range(1000) : tostring(i)] }
image "a" {
  for_each = toset(flatten([for i in local.k : [for j in local.k : "${i}-${j}"]])) # error: Value too large & at most
}
