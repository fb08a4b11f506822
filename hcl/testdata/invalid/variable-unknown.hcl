# var nodee=22
variable "node" { default = "22" }
# nowhere: --var gives a value for the variable "nodee", which the bottle file does not declare. Did you mean "node"?
