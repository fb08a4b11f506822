locals {
  a = uper("x") # error: There is no function named "uper"
  b = timestamp() # error: There is no function named "timestamp"
  c = env("HOME") # error: There is no function named "env"
  d = uuid() # error: There is no function named "uuid"
}
