variable "a" {
  type     = string
  default  = null # error: which nullable = false excludes
  nullable = false
}
