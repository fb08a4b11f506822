image "a" {
  annotations  = { "idnex:x" = "y" } # error: TYPE is manifest
  network      = "bridge" # error: sandbox
  shm_size     = 64 # error: needs a unit
  ulimits      = ["nofile"] # error: no limit such as
  add_hosts    = { a = "b" } # error: The address of a
  entitlements = ["network"] # error: network.host
  ssh          = ["a", "a=b"] # error: stands there twice
  cache_from   = ["type=local"] # error: needs src
  cache_to     = ["mode=max"] # error: has no type
  max_age      = "1d" # error: is not a duration
  attest       = ["type=seal"] # error: "seal" is not among provenance and sbom
}
