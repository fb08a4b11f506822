package bottlefile

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var bottleSchema = &BlockSchema{
	Name: "bottle", Labels: []string{"name"}, Many: true,
	Doc: "An image and what is made of it, as bottle.NAME. A stage that is not written is left out; machine brings in pack.",
	Attrs: []*AttrSchema{
		forEachAttr,
		{Name: "image", Type: cty.DynamicPseudoType, TypeName: "image or image reference", Required: true, InKey: true, Doc: "The image: image.NAME, or a reference such as \"docker.io/library/node:22\"."},
		{Name: "backend", Type: cty.String, Default: `"smolvm"`, InKey: true, Early: true, Doc: "What packs the image and runs the machine: smolvm, container, or auto for smolvm where it can work and container elsewhere."},
		{Name: "runtime", Type: cty.String, Default: `"runc"`, InKey: true, Early: true, Doc: "The OCI runtime of the container backend: runc, crun, krun, kata-runtime, runsc."},
	},
	Dynamic: true,
	Blocks:  []*BlockSchema{exportSchema, pushSchema, packSchema, machineSchema},
}

var backends = []string{tasks.BackendSmolvm, tasks.BackendContainer, tasks.BackendAuto}

// source is the image of a bottle: the address of a node, or a reference, of
// which the bottle's own image node is made.
type source struct {
	address string
	own     bool // the node is the bottle's own, and Ref is its parameter
	ref     string
}

// source reads the image of a bottle. It returns false if there is a fault. A
// reference that is known only later is noted as late.
func (d *decoder) source(inst *instance) (source, bool) {
	raw, a, ok := d.object("image")
	if !ok {
		return source{}, false
	}
	at := value{attr: a}
	if address, isImage := d.imageAddress(raw, at); isImage {
		return source{address: address}, address != ""
	}
	own := source{address: inst.address + ".image", own: true}
	switch ty := raw.Type(); {
	case ty.IsMapType() && ty.ElementType().Equals(imageType):
		v, _ := raw.Unmark()
		hint := ""
		if t, ok := a.Expr.(interface{ AsTraversal() hcl.Traversal }); ok && v.IsKnown() {
			hint = ", such as " + traversalText(t.AsTraversal()) + "[each.key]"
		}
		d.fault(at, "Several images", "This is a collection of images, since the image has a for_each. Name one instance%s.", hint)
		return source{}, false
	case !ty.IsPrimitiveType() && ty != cty.DynamicPseudoType:
		d.fault(at, "Wrong type", "image is an image, such as image.base, or a reference, such as \"docker.io/library/node:22\", not a %s.", friendly(ty))
		return source{}, false
	}
	v, ok := d.resolve(raw, a, cty.String, "")
	if !ok {
		return own, d.res.late
	}
	ref := v.AsString()
	if d.ev.f.quotedReference(ref) != "" {
		d.fault(v, "Reference in quotes", "%s is the name of an image in a registry here. Did you mean %s, without quotes?", v.quote(), ref)
		return own, false
	}
	if why := referenceFault(ref); why != "" {
		hint := ""
		if m := suggest(ref, d.ev.f.names("image")); m != "" || d.ev.f.decl("image", ref) != nil {
			if m == "" {
				m = ref
			}
			hint = " Did you mean image." + m + ", without quotes?"
		} else if rest, ok := strings.CutPrefix(ref, "image."); ok {
			hint = " Did you mean image." + rest + ", without quotes?"
		}
		d.fault(v, "Invalid image reference", "%s is not an image reference: %s.%s", v.quote(), why, hint)
		return own, false
	}
	own.ref = ref
	return own, true
}

// ownImage reads the parameters of an image that a bottle names by reference. It
// is taken for the platform that is packed; d is of the bottle.
func (d *decoder) ownImage(inst *instance) tasks.Image {
	s, _ := d.source(inst)
	p := tasks.Image{Ref: s.ref, Reproducible: true}
	if b := d.b.one(packSchema.Name); b != nil {
		if v, ok := d.in(b).text("platform"); ok {
			p.Platforms = []string{v.AsString()}
		}
	}
	return p
}

// backend reads what a bottle runs on.
func (d *decoder) backend() (backend, runtime string) {
	backend = d.word("backend", tasks.BackendSmolvm, backends)
	v, ok := d.text("runtime")
	if !ok {
		return backend, ""
	}
	switch {
	case backend == tasks.BackendSmolvm:
		d.fault(v, "Contradictory attributes", "runtime is of the container backend; this bottle's backend is smolvm. Write backend = \"container\", or remove runtime.")
	case !isName(v.AsString()):
		d.fault(v, "Invalid runtime", "runtime is the name of an OCI runtime, such as \"runc\" or \"crun\", not %s.", v.quote())
	}
	return backend, v.AsString()
}
