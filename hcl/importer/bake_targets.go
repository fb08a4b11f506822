package importer

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// target is one of bake's targets.
type target struct {
	*hclsyntax.Block
	name   string            // bake's
	here   string            // the image's
	parts  []*hclsyntax.Body // the block's, and what later blocks of the name add
	notes  []string          // comments that its image starts with
	wanted bool              // it becomes an image
	bottle string            // the bottle that pushes or exports it, if any
	// parents are the names of the targets that it inherits, as far as they can be told.
	parents []string
	// instances are the names that its matrix makes, as far as they can be told,
	// and the keys of the image's for_each.
	instances []string
	forEach   string // the local that has its matrix
}

// attribute returns the last one of a name, nil if there is none.
func (t *target) attribute(name string) *hclsyntax.Attribute {
	for _, p := range slices.Backward(t.parts) {
		if a := p.Attributes[name]; a != nil {
			return a
		}
	}
	return nil
}

// selectTargets finds out which targets become images: all but those that are only
// there to be inherited. Bake builds every target, if it is asked to; those whose
// names start with an underscore are templates by convention, and of those that
// others inherit and nothing else names, the ones that have no Dockerfile.
func (b *bake) selectTargets() {
	want := map[string]bool{}
	for _, g := range b.groups {
		if a := g.Body.Attributes["targets"]; a != nil {
			names, _ := b.texts(a.Expr, nil)
			for _, name := range names {
				want[name] = true
			}
		}
	}
	isParent := map[string]bool{}
	for _, t := range b.order {
		for _, name := range t.parents {
			isParent[name] = true
		}
		for _, p := range t.parts {
			if a := p.Attributes["contexts"]; a != nil {
				for _, e := range values(a.Expr) {
					if names, err := b.linked(t, e); err == nil {
						for _, name := range names {
							want[name] = true
						}
					}
				}
			}
		}
	}
	for _, t := range b.order {
		t.wanted = want[t.name] || slices.ContainsFunc(t.instances, func(n string) bool { return want[n] })
		if t.wanted || strings.HasPrefix(t.name, "_") && isParent[t.name] {
			continue
		}
		t.wanted = !isParent[t.name] || b.hasDockerfile(t)
		if !t.wanted {
			b.note(b.warn(b.place(t.DefRange()), "the target %s has become part of those that inherit it, and no image of its own: it has no Dockerfile", t.name))
		}
	}
	for _, t := range b.order {
		if b.reaches(t, t.name, map[string]bool{}) {
			t.notes = append(t.notes, b.warn(b.place(t.DefRange()), "%s inherits itself; as in bake, the cycle ends where it closes", t.name))
		}
	}
}

// inherits finds out what a target inherits.
func (b *bake) inherits(t *target) {
	for _, p := range t.parts {
		a := p.Attributes["inherits"]
		if a == nil {
			continue
		}
		names, err := b.texts(a.Expr, t)
		if err != nil {
			text := b.warn(b.place(a.SrcRange), "inherits of the target %s is left out: %s", t.name, err)
			t.notes = append(t.notes, text+"\n"+string(a.SrcRange.SliceBytes(b.src)))
		}
		for _, name := range names {
			if b.targets[name] == nil {
				t.notes = append(t.notes, b.warn(b.place(a.SrcRange), "%s inherits %s, which is not declared", t.name, name))
				continue
			}
			t.parents = append(t.parents, name)
		}
	}
}

// maxInherited bounds the ways in which all targets together come to what they
// inherit: they can double with every target that is written.
const maxInherited = 20_000

// entangled returns the target with which the ways to inherit become too many,
// nil if they do not.
func (b *bake) entangled() *target {
	ways := 0
	var count func(t *target, seen map[string]bool)
	count = func(t *target, seen map[string]bool) {
		if ways++; ways > maxInherited {
			return
		}
		seen[t.name] = true
		for _, name := range t.parents {
			if !seen[name] {
				count(b.targets[name], seen)
			}
		}
		delete(seen, t.name)
	}
	for _, t := range b.order {
		if count(t, map[string]bool{}); ways > maxInherited {
			return t
		}
	}
	return nil
}

func (b *bake) reaches(t *target, name string, seen map[string]bool) bool {
	for _, p := range t.parents {
		if p == name {
			return true
		}
		if !seen[p] {
			seen[p] = true
			if b.reaches(b.targets[p], name, seen) {
				return true
			}
		}
	}
	return false
}

// inherited are a target's attributes and those of what it inherits, by name, a
// child's after its parents'. As in bake, a cycle ends where it closes.
func (b *bake) inherited(t *target, seen map[string]bool) map[string][]*hclsyntax.Attribute {
	all := map[string][]*hclsyntax.Attribute{}
	seen[t.name] = true
	for _, name := range t.parents {
		if seen[name] {
			continue
		}
		for k, as := range b.inherited(b.targets[name], seen) {
			if k != "matrix" && k != "name" {
				all[k] = append(all[k], as...)
			}
		}
	}
	delete(seen, t.name)
	for _, p := range t.parts {
		for k, a := range p.Attributes {
			all[k] = append(all[k], a)
		}
	}
	return all
}

// hasDockerfile tells whether a target has something to be built from, unless it
// cannot be told.
func (b *bake) hasDockerfile(t *target) bool {
	all := b.inherited(t, map[string]bool{})
	if b.root == nil || all["dockerfile-inline"] != nil {
		return true
	}
	path := []string{".", "Dockerfile"}
	for i, name := range []string{"context", "dockerfile"} {
		if a := last(all[name]); a != nil {
			if path[i] = strings.TrimPrefix(literal(a.Expr), "cwd://"); path[i] == "" {
				return true
			}
		}
	}
	if strings.Contains(path[0], ":") || !filepath.IsLocal(filepath.Join(path...)) {
		return true
	}
	_, err := b.root.Stat(filepath.Join(path...))
	return err == nil
}

// linked returns the names of the targets that a context refers to, one for each
// instance of the target that has it; none if it is no target's.
func (b *bake) linked(t *target, e hclsyntax.Expression) ([]string, error) {
	src := string(e.Range().SliceBytes(b.src))
	if !strings.Contains(src, "target:") {
		return nil, nil
	}
	var names []string
	values, err := b.eachText(e, t)
	if err != nil {
		return nil, err
	}
	for _, v := range values {
		name, ok := strings.CutPrefix(v, "target:")
		if !ok {
			return nil, errors.New("it is a target's in some cases only")
		}
		names = append(names, name)
	}
	return names, nil
}
