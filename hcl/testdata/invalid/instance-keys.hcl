image "agent" {
  for_each = toset(["claude", "codex"])
}
locals { key = "cluade" }
bottle "a" {
  image = image.agent["cluade"] # error: image.agent has no element "cluade". Did you mean "claude"?
}
bottle "b" {
  image = image.agent[local.key] # error: Did you mean "claude"?
}
bottle "c" {
  image = image.agent # error: Several images: This is a collection of images
}
image "d" {
  args = { X = image.agent.digest } # error: write image.agent["KEY"].digest, with one of the keys "claude" or "codex"
}
