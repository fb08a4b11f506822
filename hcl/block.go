package bottlefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// block is a block whose names have been checked against its schema. Its
// expressions have not been evaluated.
type block struct {
	schema      *BlockSchema
	labels      []string
	labelRanges []hcl.Range
	defRange    hcl.Range // of the header
	pos         string    // the place of the header
	attrs       map[string]*attr
	order       []*attr // in the order of the schema, or of the file with AnyAttrs
	blocks      map[string][]*block
	missing     []*AttrSchema // required, and not written in this file
	dynamic     bool          // generators are in it
	gen         *generator    // of the content of a dynamic block
	iter        *iteration    // of a block that was made of such content
}

type attr struct {
	*hcl.Attribute
	schema *AttrSchema
	// each tells whether the value can differ between the instances of a for_each.
	each bool
	// iterators are the names of the elements that it can use.
	iterators []string
}

func newAttr(a *hcl.Attribute, s *AttrSchema, iterators []string) (*attr, hcl.Diagnostics) {
	n := &attr{Attribute: a, schema: s, each: len(iterators) > 0, iterators: iterators}
	var diags hcl.Diagnostics
	if _, ok := a.Expr.(hclsyntax.Expression); !ok {
		own := *a
		own.Expr, diags = nativeExpr(a.Expr, s.Static)
		n.Attribute = &own
	}
	for _, t := range n.Expr.Variables() {
		n.each = n.each || t.RootName() == "each"
	}
	return n, diags
}

// label returns the block's first label.
func (b *block) label() string { return b.labels[0] }

// labelRange returns where the first label stands.
func (b *block) labelRange() hcl.Range {
	if len(b.labelRanges) > 0 {
		return b.labelRanges[0]
	}
	return b.defRange
}

// one returns the block of that name, nil if it is not written.
func (b *block) one(name string) *block {
	if bs := b.blocks[name]; len(bs) > 0 {
		return bs[0]
	}
	return nil
}

// readBlock checks the names in a block's body, and those of the blocks in it.
func readBlock(hb *hcl.Block, s *BlockSchema, iterators []string) (*block, hcl.Diagnostics) {
	b, diags := readBody(hb.Body, s, hb.DefRange, iterators)
	b.labels, b.labelRanges = hb.Labels, hb.LabelRanges
	return b, diags
}

// readBody reads the body of a block; in the content of dynamic blocks,
// iterators are the names of their elements.
func readBody(body hcl.Body, s *BlockSchema, def hcl.Range, iterators []string) (*block, hcl.Diagnostics) {
	b := &block{schema: s, defRange: def, pos: place(def), attrs: map[string]*attr{}, blocks: map[string][]*block{}}
	if s.AnyAttrs {
		attrs, diags := body.JustAttributes()
		for _, a := range sortedAttrs(attrs) {
			diags = append(diags, b.read(a, &AttrSchema{Name: a.Name}, iterators)...)
		}
		return b, diags
	}
	content, diags := body.Content(s.body())
	diags = improveNames(diags, s)
	for _, as := range s.Attrs {
		switch a := content.Attributes[as.Name]; {
		case a != nil:
			diags = append(diags, b.read(a, as, iterators)...)
		case as.Required && !misspelt(diags, as.Name):
			b.missing = append(b.missing, as)
		}
	}
	for _, hb := range content.Blocks {
		if hb.Type == dynamicSchema.Name {
			n, nd := readDynamic(hb, s, iterators)
			diags = append(diags, nd...)
			if n != nil {
				b.dynamic = true
				b.blocks[n.schema.Name] = append(b.blocks[n.schema.Name], n)
			}
			continue
		}
		ns := s.block(hb.Type)
		n, nd := readBlock(hb, ns, iterators)
		diags = append(diags, nd...)
		b.dynamic = b.dynamic || n.dynamic
		if earlier := b.one(hb.Type); earlier != nil && !ns.Many && earlier.gen == nil {
			diags = append(diags, duplicateBlock(s, earlier, hb.DefRange))
			continue
		}
		b.blocks[hb.Type] = append(b.blocks[hb.Type], n)
	}
	return b, diags
}

func (b *block) read(a *hcl.Attribute, s *AttrSchema, iterators []string) hcl.Diagnostics {
	n, diags := newAttr(a, s, iterators)
	b.set(n)
	return diags
}

// set adds an attribute, or puts it in the place of that of the same name.
func (b *block) set(a *attr) {
	if old := b.attrs[a.Name]; old != nil {
		b.order = slices.DeleteFunc(b.order, func(o *attr) bool { return o == old })
	}
	b.attrs[a.Name] = a
	b.order = append(b.order, a)
}

// checkRequired reports required attributes of b and the blocks in it that no
// file gives.
func (b *block) checkRequired() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, as := range b.missing {
		if b.attrs[as.Name] == nil {
			diags = append(diags, missingAttr(b.schema, as, b.defRange))
		}
	}
	for _, bs := range b.blocks {
		for _, n := range bs {
			diags = append(diags, n.checkRequired()...)
		}
	}
	return diags
}

func duplicateBlock(in *BlockSchema, first *block, at hcl.Range) *hcl.Diagnostic {
	kind := first.schema.Name
	return errorAt(at, fmt.Sprintf("Duplicate %s block", kind), "%s has at most one %s block; the first is at %s. Merge the two, or remove one.", upperFirst(withArticle(in.Name)), kind, place(first.defRange))
}

func missingAttr(s *BlockSchema, as *AttrSchema, def hcl.Range) *hcl.Diagnostic {
	return &hcl.Diagnostic{
		Severity: hcl.DiagError, Summary: fmt.Sprintf("Missing attribute %q", as.Name),
		Detail:  fmt.Sprintf("%s block needs the attribute %q: %s", upperFirst(withArticle(s.Name)), as.Name, lowerFirst(as.Doc)),
		Subject: def.Ptr(),
	}
}

// improveNames puts this language's words, and suggestions that HCL's do not
// reach, into diagnostics about names.
func improveNames(diags hcl.Diagnostics, s *BlockSchema) hcl.Diagnostics {
	var attrs, blocks []string
	for _, a := range s.Attrs {
		attrs = append(attrs, a.Name)
	}
	for _, b := range s.Blocks {
		blocks = append(blocks, b.Name)
	}
	if s.Dynamic {
		blocks = append(blocks, dynamicSchema.Name)
	}
	in := "in " + withArticle(s.Name) + " block"
	if s == Schema {
		in = "at the top level of a bottle file"
	}
	for _, d := range diags {
		name, ok := quotedIn(d.Detail)
		foreign := foreignHint(s, name)
		if foreign == "" {
			foreign = placesOf(name)
		}
		hint := func(names, others []string, asOther, fallback string) string {
			if foreign != "" && !slices.Contains(others, name) {
				return foreign
			}
			return nameHint(name, names, others, asOther, fallback)
		}
		switch {
		case !ok:
		case d.Summary == "Unsupported argument":
			d.Summary = fmt.Sprintf("Unknown attribute %q", name)
			d.Detail = fmt.Sprintf("There is no attribute %q %s.%s", name, in, hint(attrs, blocks, "a block: write it without the equals sign", allowed(attrs)))
		case d.Summary == "Extraneous JSON object property":
			d.Summary = fmt.Sprintf("Unknown property %q", name)
			d.Detail = fmt.Sprintf("There is no attribute or block %q %s.%s", name, in, hint(slices.Concat(attrs, blocks), nil, "", allowed(slices.Concat(attrs, blocks))))
		case d.Summary == "Unsupported block type":
			d.Summary = fmt.Sprintf("Unknown block %q", name)
			d.Detail = fmt.Sprintf("There is no block %q %s.%s", name, in, hint(blocks, attrs, "an attribute: write it with an equals sign", allowed(blocks)))
		}
	}
	return diags
}

func nameHint(name string, names, others []string, asOther, fallback string) string {
	for _, o := range others {
		if o == name {
			return fmt.Sprintf(" %q is %s.", name, asOther)
		}
	}
	if m := suggest(name, names); m != "" {
		return fmt.Sprintf(" Did you mean %q?", m)
	}
	if m := suggest(name, others); m != "" {
		return fmt.Sprintf(" Did you mean %q, which is %s?", m, asOther)
	}
	return fallback
}

func allowed(names []string) string {
	if len(names) == 0 {
		return " None is allowed here."
	}
	return " Allowed here: " + strings.Join(names, ", ") + "."
}

// misspelt reports whether a diagnostic already suggests name, so that its
// absence need not be reported too.
func misspelt(diags hcl.Diagnostics, name string) bool {
	for _, d := range diags {
		if strings.Contains(d.Detail, fmt.Sprintf("Did you mean %q", name)) {
			return true
		}
	}
	return false
}
