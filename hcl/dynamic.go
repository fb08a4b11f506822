package bottlefile

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

// dynamicSchema declares the block that makes several others; its content block
// takes what the blocks that it makes would have.
var dynamicSchema = &BlockSchema{
	Name: "dynamic", Labels: []string{"block"}, Many: true,
	Doc: "Makes one block of the kind in its label per element of for_each.",
	Attrs: []*AttrSchema{
		{Name: "for_each", Type: cty.DynamicPseudoType, TypeName: "collection", Required: true, Doc: "A list, set, map or object; it must be known before anything runs."},
		{Name: "iterator", Static: true, TypeName: "name", Default: "the kind of block", Doc: "What the element is called in content: NAME.key and NAME.value."},
		{Name: "labels", Type: cty.List(cty.String), Early: true, Doc: "Labels of the blocks, for a kind that has some."},
	},
	Blocks: []*BlockSchema{{Name: "content", Doc: "What is in each of the blocks."}},
}

// generator makes blocks of the content that it is part of.
type generator struct {
	forEach  *attr
	labels   *attr // nil if the kind of block has none
	iterator string
}

// iteration is the element of a generator that a block was made for.
type iteration struct {
	*generator
	index   int
	element cty.Value // an object of key and value
}

// readDynamic reads a dynamic block in a block of schema s. It returns nil if what
// it makes cannot be told.
func readDynamic(hb *hcl.Block, s *BlockSchema, iterators []string) (*block, hcl.Diagnostics) {
	kind, at := hb.Labels[0], hb.LabelRanges[0]
	ns := s.block(kind)
	if ns == nil {
		var names []string
		for _, n := range s.Blocks {
			names = append(names, n.Name)
		}
		return nil, hcl.Diagnostics{errorAt(at, "Unknown block", "There is no block %q in %s block.%s", kind, withArticle(s.Name), didYouMean(kind, names))}
	}
	content, diags := hb.Body.Content(dynamicSchema.body())
	diags = improveNames(diags, dynamicSchema)
	g := &generator{iterator: kind}
	read := func(as *AttrSchema, iterators []string) *attr {
		a := content.Attributes[as.Name]
		if a == nil {
			return nil
		}
		n, d := newAttr(a, as, iterators)
		diags = append(diags, d...)
		return n
	}
	if a := read(dynamicSchema.Attrs[1], nil); a != nil {
		g.iterator = hcl.ExprAsKeyword(a.Expr)
		if !isName(g.iterator) || slices.Contains(roots, g.iterator) {
			diags = append(diags, errorAt(a.Expr.Range(), "Invalid iterator", "iterator is a name without quotes, other than %s.", oneOf(roots)))
		}
	}
	inner := append(slices.Clone(iterators), g.iterator)
	g.labels = read(dynamicSchema.Attrs[2], inner)
	if g.forEach = read(dynamicSchema.Attrs[0], iterators); g.forEach == nil && !misspelt(diags, "for_each") {
		diags = append(diags, missingAttr(dynamicSchema, dynamicSchema.Attrs[0], hb.DefRange))
	}
	switch {
	case g.labels == nil && len(ns.Labels) > 0:
		diags = append(diags, errorAt(hb.DefRange, "Missing labels", "A %s block has a label: write labels = [%s.key], or the like.", kind, g.iterator))
	case g.labels != nil && len(ns.Labels) == 0:
		diags = append(diags, errorAt(g.labels.NameRange, "Labels not allowed", "A %s block has no labels. Remove the attribute.", kind))
	}
	if len(content.Blocks) != 1 {
		if !misspelt(diags, "content") {
			diags = append(diags, errorAt(hb.DefRange, "Invalid dynamic block", "A dynamic block has exactly one content block, which holds what is in each %s block.", kind))
		}
		return nil, diags
	}
	b, d := readBody(content.Blocks[0].Body, ns, hb.DefRange, inner)
	b.gen = g
	diags = append(diags, d...)
	if diags.HasErrors() {
		return nil, diags
	}
	return b, diags
}

// generators returns the attributes from which the blocks in b are made.
func generators(b *block, attrs []*attr) []*attr {
	if b.gen != nil {
		attrs = append(attrs, b.gen.forEach)
		if b.gen.labels != nil {
			attrs = append(attrs, b.gen.labels)
		}
	}
	for _, s := range b.schema.Blocks {
		for _, n := range b.blocks[s.Name] {
			attrs = generators(n, attrs)
		}
	}
	return attrs
}

// body returns the block of an instance, with the blocks that its dynamic blocks
// make in their places.
func (ev *evaluator) body(i *instance) *block {
	if i.body != nil {
		return i.body
	}
	if !i.block.dynamic {
		i.body = i.block
		return i.body
	}
	if !ev.enter(i.address+" (dynamic)", i.defRange) {
		return i.block
	}
	defer ev.leave()
	d := &decoder{ev: ev, b: i.block, scope: ev.scopeOf(generators(i.block, nil), i.each != cty.NilVal), res: &decoded{}}
	d.ctx = d.scope.ctx
	d.bind("each", i.each)
	i.body = d.unroll(i)
	ev.diags = append(ev.diags, d.res.diags...)
	return i.body
}

// bind makes a value known under a name; a NilVal is none.
func (d *decoder) bind(name string, v cty.Value) {
	if v == cty.NilVal {
		return
	}
	d.ctx = d.ctx.NewChild()
	d.ctx.Variables = map[string]cty.Value{name: v}
}

// unroll returns d's block with the blocks that its generators make.
func (d *decoder) unroll(i *instance) *block {
	if !d.b.dynamic {
		return d.b
	}
	b := *d.b
	b.blocks = make(map[string][]*block, len(d.b.blocks))
	for _, s := range b.schema.Blocks {
		var made []*block
		for _, n := range d.b.blocks[s.Name] {
			if n.gen == nil {
				made = append(made, d.in(n).unroll(i))
				continue
			}
			elements := d.elements(n.gen)
			if !d.ev.count(i.decl, len(elements)) {
				return d.b
			}
			for index, e := range elements {
				c := *n
				c.gen, c.iter = nil, &iteration{n.gen, index, e}
				if in := d.in(&c); in.label(n.gen) {
					made = append(made, in.unroll(i))
				}
			}
		}
		if len(made) > 1 && !s.Many {
			d.report(duplicateBlock(b.schema, made[0], made[1].defRange))
			made = made[:1]
		}
		if len(made) > 0 {
			b.blocks[s.Name] = made
		}
	}
	return &b
}

// label gives a block that a generator made its label.
func (d *decoder) label(g *generator) bool {
	if g.labels == nil {
		return true
	}
	at := g.labels.Expr.Range()
	b := d.b
	d.b = &block{attrs: map[string]*attr{g.labels.Name: g.labels}}
	labels := d.texts(g.labels.Name)
	d.b = b
	if len(labels) != len(b.schema.Labels) {
		if !d.res.diags.HasErrors() {
			d.report(errorAt(at, "Invalid labels", "A %s block has %d labels, and this gives %d.", b.schema.Name, len(b.schema.Labels), len(labels)))
		}
		return false
	}
	b.labels, b.labelRanges = labels, []hcl.Range{at}
	return true
}

// elements returns the elements that a generator goes over, each an object of
// key and value.
func (d *decoder) elements(g *generator) []cty.Value {
	e := g.forEach.Expr
	if d.scope.bad[e] {
		return nil
	}
	raw, diags := evalIn(e, d.ctx)
	d.res.diags = append(d.res.diags, diags...)
	v, marks := raw.Unmark()
	_, poison := marks[poisonMark{}]
	summary := "Invalid for_each"
	switch {
	case diags.HasErrors() || poison:
		return nil
	case !v.IsKnown():
		d.report(errorAt(e.Range(), summary, "How many blocks there are must be known before anything runs, and this depends on %s.", afterRun(unmark(raw).refs)))
		return nil
	case v.IsNull():
		d.report(errorAt(e.Range(), summary, "for_each is null. For no blocks write []."))
		return nil
	case marks.Has(sensitiveMark{}):
		d.report(errorAt(e.Range(), summary, "for_each may not be sensitive: how many blocks there are is printed."))
		return nil
	case !v.CanIterateElements():
		d.report(errorAt(e.Range(), summary, "for_each takes a list, set, map or object; this is a %s.", friendly(v.Type())))
		return nil
	}
	var elements []cty.Value
	for it := v.ElementIterator(); it.Next(); {
		k, e := it.Element()
		if v.Type().IsSetType() {
			k = e
		}
		elements = append(elements, cty.ObjectVal(map[string]cty.Value{"key": k, "value": e.WithMarks(marks)}))
	}
	return elements
}

// current is the element as far as it is known by now; d is of the block around
// that which was made for it.
func (n *iteration) current(d *decoder) cty.Value {
	if d.ev.base == nil || n.element.IsWhollyKnown() {
		return n.element
	}
	if elements := d.elements(n.generator); n.index < len(elements) {
		return elements[n.index]
	}
	return n.element
}
