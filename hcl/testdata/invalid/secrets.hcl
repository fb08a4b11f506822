secret "token" {
  env = "AGENT_TOKEN"
}
secret "none" { # error: Write one of
}
secret "two" {
  env  = "A"
  file = "b" # error: env and file
}
secret "name" {
  env = "A B" # error: no spaces
}
secret "empty" {
  command = [] # error: names no program
}
secret "token" { # error: secret.token is declared
  env = "B"
}
secret "typo" {
  env     = "A"
  versoin = "1" # error: Did you mean "version"?
}
locals {
  passed  = { t = secret.token }
  text    = "x${secret.token}" # error: no text
  upper   = upper(secret.token) # error: no text
  json    = jsonencode(local.passed) # error: no text
  format  = format("%v", secret.token) # error: no text
  missing = secret.tokne # error: Did you mean secret.token?
}
variable "hidden" {
  sensitive = true
  default   = "hunter2"
}
image "a" {
  args    = { TOKEN = secret.token } # error: args is or has a secret
  labels  = local.passed # error: labels is or has a secret
  target  = secret.token # error: target is or has a secret
  secrets = { a = secret.token, b = "token", c = 1 } # error: without quotes & secrets["c"] is a secret
}
image "d" {
  secrets = { d = var.hidden } # error: secrets["d"] is a secret
}
image "b" {
  secrets = ["token"] # error: a map from names to secrets
}
image "c" {
  secrets = { "a b" = secret.token } # error: no spaces
}
registry "r" {
  embedded = true
}
bottle "b" {
  image = image.a
  push {
    registry   = registry.r
    repository = "x"
    tags       = [secret.token] # error: tags is or has a secret
  }
  machine {
    env    = local.passed # error: env is or has a secret
    memory = secret.token # error: memory is or has a secret
    file "/x" {
      content = secret.token # error: content is or has a secret
    }
  }
}
output "o" {
  value = [secret.token] # error: is or has a secret
}
