image "base" {
  args = {
    A = vars.x # error: Did you mean "var"?
    B = env.HOME # error: BOTTLE_VAR_x
    C = base # error: Did you mean image.base? A text is written in quotes.
    D = linux # error: A text is written in quotes.
    E = var # error: must be followed by a dot and a name
  }
}
