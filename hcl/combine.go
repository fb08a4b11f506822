package bottlefile

import (
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// combine makes one top level of the files': those that are no overrides stand
// beside each other, and then the overrides change them, in order.
func (f *File) combine(bodies []hcl.Body) (*block, hcl.Diagnostics) {
	top := &block{schema: Schema, attrs: map[string]*attr{}, blocks: map[string][]*block{}}
	var overrides []*block
	var diags hcl.Diagnostics
	for i, s := range f.opts.Files {
		b, d := readBody(bodies[i], Schema, hcl.Range{Filename: s.Path, Start: hcl.InitialPos, End: hcl.InitialPos}, nil)
		diags = append(diags, d...)
		if s.Override {
			overrides = append(overrides, b)
			continue
		}
		for kind, bs := range b.blocks {
			if first := top.one(kind); first != nil && !Schema.block(kind).Many {
				diags = append(diags, duplicateBlock(Schema, first, bs[0].defRange))
				continue
			}
			top.blocks[kind] = append(top.blocks[kind], bs...)
		}
	}
	for _, o := range overrides {
		for _, kind := range Schema.Blocks {
			for _, b := range o.blocks[kind.Name] {
				diags = append(diags, top.overrideBelow(b)...)
			}
		}
	}
	return top, diags
}

// overrideBelow changes the declaration that an override's block is about.
func (b *block) overrideBelow(o *block) hcl.Diagnostics {
	kind := o.schema.Name
	switch {
	case o.schema == localsSchema:
		return b.overrideLocals(o)
	case o.schema == settingsSchema && b.one(kind) == nil:
		b.blocks[kind] = []*block{o}
		return nil
	case o.schema == settingsSchema:
		b.one(kind).override(o)
		return nil
	}
	var names []string
	for _, n := range b.blocks[kind] {
		if n.label() == o.label() {
			n.override(o)
			return nil
		}
		names = append(names, kind+"."+n.label())
	}
	name := kind + "." + o.label()
	return hcl.Diagnostics{errorAt(o.defRange, "Nothing to override", "An override file changes what other files declare, and none declares %s.%s", name, didYouMean(name, names))}
}

func (b *block) overrideLocals(o *block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, a := range o.order {
		i := slices.IndexFunc(b.blocks[localsSchema.Name], func(n *block) bool { return n.attrs[a.Name] != nil })
		if i >= 0 {
			b.blocks[localsSchema.Name][i].set(a)
			continue
		}
		var names []string
		for _, n := range b.blocks[localsSchema.Name] {
			names = append(names, qualified("local", sortedKeys(n.attrs))...)
		}
		diags = append(diags, errorAt(a.NameRange, "Nothing to override", "An override file changes what other files declare, and none declares local.%s.%s", a.Name, didYouMean("local."+a.Name, names)))
	}
	return diags
}

// override replaces the attributes that o has, and of every type of block in o
// all blocks of that type.
func (b *block) override(o *block) {
	for _, a := range o.order {
		b.set(a)
	}
	for kind, bs := range o.blocks {
		b.blocks[kind] = bs
	}
	b.dynamic = b.dynamic || o.dynamic
}
