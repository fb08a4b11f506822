image "a" {
  context = "images/${each.key}" # error: only in an image or bottle with for_each
}
image "b" {
  for_each = { a = each.key } # error: not in its for_each itself
}
output "x" { value = each.key } # error: No for_each here
