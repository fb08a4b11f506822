package bottlefile

import (
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/hashicorp/hcl/v2"
)

// instanceSetting is a --set for some instances of a for_each: those whose key is
// the pattern or matches it. It beats settings for all of them.
type instanceSetting struct {
	*setting
	steps   []step // after the declaration's name
	pattern string
	used    bool
}

// forInstances takes note of a setting for the instances of a declaration, after
// a try on a copy of its block.
func (f *File) forInstances(b *block, s *setting, key string, steps []step) {
	if b.attrs[forEachAttr.Name] == nil {
		s.stop(2, fmt.Sprintf("%s.%s has no for_each, so it has no instance %q. Leave the key out.", b.schema.Name, b.label(), key))
		return
	}
	if len(steps) == 1 && steps[0].name == forEachAttr.Name {
		s.stop(2, "for_each is not an instance's, but what makes them. Leave the key out.")
		return
	}
	before := s.done
	s.in(b.clone(), b.schema.Name+"."+b.label(), steps, 2)
	if s.done > before {
		f.instanceSets[b] = append(f.instanceSets[b], &instanceSetting{setting: s, steps: steps, pattern: key})
	}
}

// blockOf returns the block of an instance: the declaration's own, or a copy with
// what is set for the instance.
func (f *File) blockOf(d *decl, key string) *block {
	b := d.block
	for _, s := range f.instanceSets[d.block] {
		if ok, err := path.Match(s.pattern, key); s.pattern != key && (!ok || err != nil) {
			continue
		}
		if b == d.block {
			b = b.clone()
		}
		s.used = true
		s.in(b, d.address(), s.steps, 2) // faults have been reported
	}
	return b
}

// checkInstanceSets reports settings for instances that there are none of.
func (f *File) checkInstanceSets() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, d := range f.decls {
		for _, s := range f.instanceSets[d.block] {
			is, ok := f.eval.instances[d]
			if s.used || !ok || f.eval.diags.HasErrors() {
				continue
			}
			var keys []string
			for _, i := range is {
				keys = append(keys, i.key)
			}
			diags = append(diags, invalidSet("--set %s sets nothing. %s has no instance %q.%s", s.path, d.address(), s.pattern, didYouMean(s.pattern, keys)))
		}
	}
	return diags
}

// clone copies a block and those in it, so that attributes can be set in them.
func (b *block) clone() *block {
	n := *b
	n.attrs, n.order = maps.Clone(b.attrs), slices.Clone(b.order)
	n.blocks = make(map[string][]*block, len(b.blocks))
	for kind, bs := range b.blocks {
		for _, in := range bs {
			n.blocks[kind] = append(n.blocks[kind], in.clone())
		}
	}
	return &n
}
