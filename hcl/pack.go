package bottlefile

import (
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var packSchema = &BlockSchema{
	Name: "pack",
	Doc:  "What machines are made from: a .smolmachine, or an OCI bundle for the container backend.",
	Attrs: []*AttrSchema{
		{Name: "platform", Type: cty.String, TypeName: "platform", InKey: true, Early: true, Doc: "Which platform of the image to pack; this machine's if unset."},
	},
}

// pack reads the parameters of a pack; d is of the pack block, or of the machine
// that brings in a pack without one.
func (d *decoder) pack(image, backend, runtime string) tasks.Pack {
	p := tasks.Pack{Image: image, Backend: backend, Runtime: runtime}
	if d.b.schema == packSchema {
		if v, ok := d.text("platform"); ok && d.checkPlatform(v) {
			p.Platform = v.AsString()
		}
	}
	return p
}
