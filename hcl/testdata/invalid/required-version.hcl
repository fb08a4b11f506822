bottlebuild {
  required_version = ">= 1.0" # error: This file requires bottlebuild >= 1.0; this is 0.3.0
}
