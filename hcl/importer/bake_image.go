package importer

import (
	"context"
	"fmt"
	"strings"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	bottlefile "bottlebuild/hcl"
)

// attributes are those of a target and of what it inherits, by name, a child's
// after its parents'.
func (b *bake) attributes(t *target, seen map[string]bool) map[string][]*hclsyntax.Attribute {
	all := map[string][]*hclsyntax.Attribute{}
	seen[t.name] = true
	for _, name := range b.parents(t) {
		p := b.targets[name]
		switch {
		case p == nil:
			b.warn(b.place(t.DefRange()), "%s inherits %s, which is not declared", t.name, name)
		case seen[name]:
			b.warn(b.place(t.DefRange()), "%s inherits itself through %s", t.name, name)
		default:
			for k, as := range b.attributes(p, seen) {
				if k != "matrix" && k != "name" {
					all[k] = append(all[k], as...)
				}
			}
		}
	}
	delete(seen, t.name)
	for k, a := range t.Body.Attributes {
		all[k] = append(all[k], a)
	}
	return all
}

// image writes a target as an image, and what it does with it as a bottle.
func (b *bake) image(t *target) {
	w := &imageWriter{bake: b, t: t, block: b.add("image " + quote(t.here)), local: b.matrixLocals(t)}
	all := b.attributes(t, map[string]bool{})
	if a := last(all["description"]); a != nil {
		if s := literal(a.Expr); s != "" {
			w.block.comments = strings.Split(s, "\n")
		}
	}
	if t.Body.Attributes["matrix"] != nil {
		if t.forEach == "" {
			_, err := b.forEach(t)
			w.drop(t.Body.Attributes["matrix"], err)
		} else {
			w.block.set("for_each", t.forEach)
		}
	}
	for _, name := range []string{"context", "dockerfile", "dockerfile-inline", "target", "args", "labels", "annotations", "contexts",
		"secret", "ssh", "platforms", "no-cache", "no-cache-filter", "pull", "network", "shm-size", "ulimits", "extra-hosts",
		"entitlements", "cache-from", "cache-to", "attest"} {
		if as := all[name]; len(as) > 0 {
			if err := w.attribute(name, as); err != nil {
				w.drop(last(as), err)
			}
			delete(all, name)
		}
	}
	w.bottle(all["tags"], last(all["output"]))
	for _, a := range sortedAttributes(&hclsyntax.Body{Attributes: lasts(all)}) {
		switch a.Name {
		case "tags", "output", "inherits", "matrix", "name", "description":
		default:
			w.drop(a, fmt.Errorf("there is no counterpart for %s", a.Name))
		}
	}
}

func last(as []*hclsyntax.Attribute) *hclsyntax.Attribute {
	if len(as) == 0 {
		return nil
	}
	return as[len(as)-1]
}

func lasts(all map[string][]*hclsyntax.Attribute) hclsyntax.Attributes {
	m := hclsyntax.Attributes{}
	for k, as := range all {
		m[k] = last(as)
	}
	return m
}

// imageWriter writes one target.
type imageWriter struct {
	*bake
	t     *target
	block *block
	local map[string]string
}

// drop keeps an attribute as a comment.
func (w *imageWriter) drop(a *hclsyntax.Attribute, why error) {
	text := w.warn(w.place(a.SrcRange), "%s of the target %s is left out: %s", a.Name, w.t.name, why)
	w.block.comment(text + "\n" + string(a.SrcRange.SliceBytes(w.src)))
}

// attribute writes one attribute of bake; as are its values, a child's last.
func (w *imageWriter) attribute(name string, as []*hclsyntax.Attribute) error {
	a := last(as)
	ours := strings.ReplaceAll(name, "-", "_")
	switch name {
	case "args", "labels", "extra-hosts":
		if name == "extra-hosts" {
			ours = "add_hosts"
		}
		return w.merged(ours, as, nil)
	case "contexts":
		return w.merged(ours, as, w.namedContext)
	case "annotations":
		return w.annotations(as)
	case "secret":
		return w.secretMounts(a)
	case "ssh", "cache-from", "cache-to":
		return w.specs(ours, a)
	case "context", "dockerfile":
		s := literal(a.Expr)
		if s, ok := strings.CutPrefix(s, "cwd://"); ok {
			w.block.set(ours, quote(s))
			return nil
		}
		if name == "context" && !bottlefile.CanBeContext(s) {
			return fmt.Errorf("a context is a directory, an image or a Git URL; other URLs can be named contexts")
		}
	case "network":
		switch literal(a.Expr) {
		case "default":
			return nil
		case "none", "host", "sandbox":
		default:
			return fmt.Errorf("network is none, host or sandbox")
		}
	case "shm-size":
		n, err := units.RAMInBytes(literal(a.Expr))
		if err != nil {
			return fmt.Errorf("its size cannot be read")
		}
		w.block.set(ours, quote(size(n)))
		return nil
	case "attest":
		return w.attestations(as)
	}
	text, err := w.text(a.Expr, w.local)
	if err == nil {
		w.block.set(ours, text)
	}
	return err
}

// merged writes a map that a child's adds to its parents'; each, if not nil,
// writes an element.
func (w *imageWriter) merged(name string, as []*hclsyntax.Attribute, each func(hclsyntax.Expression) (string, error)) error {
	if each == nil {
		each = func(e hclsyntax.Expression) (string, error) { return w.text(e, w.local) }
	}
	var pairs []pair
	index := map[string]int{}
	for _, a := range as {
		is, ok := items(a.Expr)
		if !ok {
			return w.mergedExpressions(name, as)
		}
		for _, i := range is {
			text, err := each(i.value)
			if err != nil {
				w.block.comment(w.warn(w.place(i.value.Range()), "%s of %s in the target %s is left out: %s", i.key, name, w.t.name, err))
				continue
			}
			if n, ok := index[i.key]; ok {
				pairs[n].expr = text
				continue
			}
			index[i.key] = len(pairs)
			pairs = append(pairs, pair{i.key, text})
		}
	}
	if len(pairs) > 0 {
		w.block.set(name, object(pairs))
	}
	return nil
}

func (w *imageWriter) mergedExpressions(name string, as []*hclsyntax.Attribute) error {
	var texts []string
	for _, a := range as {
		text, err := w.text(a.Expr, w.local)
		if err != nil {
			return err
		}
		texts = append(texts, text)
	}
	if len(texts) == 1 {
		w.block.set(name, texts[0])
	} else {
		w.block.set(name, "merge("+strings.Join(texts, ", ")+")")
	}
	return nil
}

func (w *imageWriter) namedContext(e hclsyntax.Expression) (string, error) {
	name, ok := strings.CutPrefix(literal(e), "target:")
	if !ok {
		return w.text(e, w.local)
	}
	ref := w.reference(name, false)
	if ref == "" {
		return "", fmt.Errorf("there is no target %s", name)
	}
	return ref, nil
}

// matrixLocals returns what the names of a target's matrix are in its block.
func (b *bake) matrixLocals(t *target) map[string]string {
	local := map[string]string{}
	if a := t.Body.Attributes["matrix"]; a != nil {
		is, _ := items(a.Expr)
		for _, i := range is {
			local[i.key] = "each.value." + i.key
		}
	}
	return local
}

// forEach writes a matrix: one element per combination, by the name that it has.
func (b *bake) forEach(t *target) (string, error) {
	axes, ok := items(t.Body.Attributes["matrix"].Expr)
	name := t.Body.Attributes["name"]
	if !ok || name == nil || len(axes) == 0 {
		return "", fmt.Errorf("a matrix needs a name and axes that are written as such")
	}
	local := map[string]string{}
	var fields []pair
	for _, a := range axes {
		local[a.key] = a.key
		fields = append(fields, pair{a.key, a.key})
	}
	key, err := b.text(name.Expr, local)
	if err != nil {
		return "", err
	}
	var each []string
	for _, f := range fields {
		each = append(each, f.key+" = "+f.expr)
	}
	return nested(axes, b, key+" => { "+strings.Join(each, ", ")+" }")
}

// nested puts a for expression per axis around an element; the outer ones make
// lists of objects, which are merged.
func nested(axes []item, b *bake, element string) (string, error) {
	text := ""
	for i := len(axes) - 1; i >= 0; i-- {
		values, err := b.text(axes[i].value, nil)
		if err != nil {
			return "", err
		}
		if i == len(axes)-1 {
			text = "{ for " + axes[i].key + " in " + values + " : " + element + " }"
			continue
		}
		text = "merge([for " + axes[i].key + " in " + values + " : " + text + "]...)"
	}
	return text, nil
}

// matrixNames writes a matrix as a local, and returns the names that it makes, if
// they can be told.
func (b *bake) matrixNames(t *target) []string {
	if t.Body.Attributes["matrix"] == nil {
		return nil
	}
	text, err := b.forEach(t)
	if err != nil {
		return nil
	}
	name := b.localNames.pick(t.here + "_matrix")
	b.add("locals", "The instances of "+t.name+", by the names that bake gives them.").set(name, text)
	t.forEach = "local." + name
	f, diags := bottlefile.Load(context.Background(), bottlefile.Options{Path: "import", Source: b.result().Source})
	if diags.HasErrors() {
		return nil
	}
	e, _, diags := f.Eval("keys(" + text + ")")
	if diags.HasErrors() || !e.Known {
		return nil
	}
	var names []string
	list, _ := e.Value.([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			names = append(names, s)
		}
	}
	return names
}
