variable "token" { # error: BOTTLE_VAR_token
  type = string
}
