locals { k = [for i in range(317) : tostring(i)] }
image "a" {
  for_each = toset(flatten([for i in local.k : [for j in local.k : "${i}-${j}"]])) # error: it has more than 100000 elements
}
