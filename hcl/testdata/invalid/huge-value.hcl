locals {
  a = join("", [for i in range(1000) : "0123456789abcdef"])
  b = join("", [for i in range(1000) : local.a])
  c = "${local.b}${local.b}" # error: has more than 16 MiB of text
  d = "${local.c}${local.c}"
  e = 1e300 * 1e300
  f = local.e * local.e
  g = local.f * local.f # error: has a number beyond
}
