image "a" {
  context   = ["images/base"] # error: context is a string: string required
  args      = { A = "1", B = ["x"] } # error: at ["B"], string required
  platforms = "linux/amd64" # error: platforms is a list of string
  no_cache  = "maybe" # error: a bool is required
  labels    = "x" # error: labels is a map of string
}
bottle "b" {
  image = ["alpine"] # error: image is an image, such as image.base
  machine {
    cpus = "two" # error: cpus is a number: a number is required
    env  = { A = { B = "c" } } # error: at ["A"], string required
  }
}
