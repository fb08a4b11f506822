image "base" {}
image "a" {
  for_each = toset([image.base.digest]) # error: this depends on what is known only after image.base has run
}
locals { later = image.base.digest == "x" ? {} : { a = 1 } }
image "b" {
  for_each = local.later # error: for_each must be known before anything runs
}
