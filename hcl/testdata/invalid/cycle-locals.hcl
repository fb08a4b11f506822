locals {
  a = local.b # error: Cycle: These values need each other: local.a → local.b → local.c → local.a
  b = "${local.c}!"
  c = upper(local.a)
  d = local.d # error: local.d → local.d
}
