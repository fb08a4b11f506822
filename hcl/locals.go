package bottlefile

import (
	"github.com/hashicorp/hcl/v2"
)

var localsSchema = &BlockSchema{
	Name: "locals", Many: true, AnyAttrs: true,
	Doc: "Named expressions, as local.NAME. They may use everything else, in any order.",
}

func (f *File) declareLocals(blocks []*block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, b := range blocks {
		for _, a := range b.order {
			if first := f.locals[a.Name]; first != nil {
				diags = append(diags, errorAt(a.NameRange, "Duplicate local", "local.%s is declared at %s already. Give one of the two another name.", a.Name, place(first.NameRange)))
				continue
			}
			f.locals[a.Name] = a
			f.localNames = append(f.localNames, a.Name)
		}
	}
	return diags
}
