package bottlefile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/hclwrite"
)

// Format returns HCL source in its canonical form. Source with a syntax error is
// refused; the file that is returned serves [WriteDiagnostics] only.
func Format(path string, src []byte) ([]byte, *File, Diagnostics) {
	f := &File{sources: map[string]*hcl.File{path: {Bytes: src}}}
	if diags := checkBounds(src, path, hclsyntax.LexConfig); diags.HasErrors() {
		f.sources[path].Bytes = nil // too long to look for a snippet in
		return nil, f, diags
	}
	parsed, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	f.sources[path] = parsed
	if diags.HasErrors() {
		return nil, f, tidy(diags)
	}
	return hclwrite.Format(src), f, nil
}
