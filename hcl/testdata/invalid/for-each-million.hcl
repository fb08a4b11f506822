locals { k = [for i in range(1000) : tostring(i)] }
image "a" {
  for_each = toset([for p in setproduct(local.k, local.k) : join("-", p)]) # error: the product has more than 100000 elements
}
