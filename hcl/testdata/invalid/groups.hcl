image "base" {}
bottle "agent" {
  for_each = toset(["claude"])
  image    = image.base
  pack {}
}
group "a" {
  targets = [
    bottle.agnt, # error: Did you mean "bottle.agent"?
    bottle.agent["cluade"], # error: Did you mean "bottle.agent[claude]"?
    image.base,
    bottle.agent.machine, # error: There is no target "bottle.agent.machine"
    upper("x"), # error: It is read before anything is evaluated
    "bottle.*",
    "image.x*", # error: Nothing matches
  ]
}
group "x" {
  targets = [group.y] # error: No image and no bottle is in the group "x"
}
group "y" {
  targets = [group.x] # error: No image and no bottle is in the group "y"
}
group "self" {
  targets = ["self"] # error: No image and no bottle is in the group "self"
}
group "also" {
  targets = [image.base, group.also]
}
group "b" {
  targets = bottle.agent # error: targets is a list of references
}
