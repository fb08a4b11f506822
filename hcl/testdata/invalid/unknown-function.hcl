locals {
  a = uper("x") # error: There is no function named "uper". Did you mean "upper"?
  b = timestamp() # error: There is no function named "timestamp". There is no clock here
  c = env("HOME") # error: There is no function named "env". The environment reaches
  d = uuid() # error: There is no function named "uuid". There is no randomness
}
