# var size=0
variable "size" {
  type = number
  validation {
    condition     = var.size > 0 # error: The size is more than 0. The value is from --var.
    error_message = "The size is more than 0."
  }
  validation {
    condition     = var.sise > 0 # error: Did you mean var.size?
    error_message = "…"
  }
  validation {
    condition     = "yes" # error: condition is a bool
    error_message = "…"
  }
}
