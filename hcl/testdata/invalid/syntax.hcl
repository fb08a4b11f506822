image "a" {
  context = "images/base
} # error: Invalid multi-line string
