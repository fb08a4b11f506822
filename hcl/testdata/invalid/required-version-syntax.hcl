bottlebuild {
  required_version = "1.x" # error: "1.x" is no version constraint
}
