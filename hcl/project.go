package bottlefile

import "github.com/hashicorp/hcl/v2"

// Diagnostics are what is wrong with a bottle file, each with its place.
type Diagnostics = hcl.Diagnostics

// Diagnostic is one fault or warning.
type Diagnostic = hcl.Diagnostic

// Project returns the scope of the file's nodes and machines, see [Options].
func (f *File) Project() string { return f.opts.Project }
