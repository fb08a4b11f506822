variable "s" {
  default   = ["hunter2"]
  sensitive = true
}
bottle "b" {
  image = "alpine:3"
  machine {
    dynamic "provision" {
      for_each = var.s # error: for_each may not be sensitive
      content { exec = [provision.value] }
    }
    dynamic "volume" {
      for_each = { a = var.s[0] }
      content {
        host  = "."
        guest = volume.value # error: (sensitive value) does not
      }
    }
  }
}
