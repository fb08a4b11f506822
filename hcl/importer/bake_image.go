package importer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/docker/go-units"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	bottlefile "bottlebuild/hcl"
)

// image writes a target as an image, and what it does with it as a bottle.
func (b *bake) image(t *target) {
	w := &imageWriter{bake: b, t: t, block: b.add("image " + quote(t.here)), local: b.matrixLocals(t)}
	for _, n := range t.notes {
		w.block.comment(n)
	}
	all := b.inherited(t, map[string]bool{})
	if a := last(all["description"]); a != nil {
		if s := literal(a.Expr); s != "" {
			w.block.comments = strings.Split(s, "\n")
		}
	}
	if a := t.attribute("matrix"); a != nil {
		if t.forEach == "" {
			_, err := b.forEach(t)
			w.drop(a, err)
		} else {
			w.block.set("for_each", t.forEach)
		}
	}
	for _, name := range []string{"context", "dockerfile", "dockerfile-inline", "target", "args", "labels", "annotations", "contexts",
		"secret", "ssh", "platforms", "no-cache", "no-cache-filter", "pull", "network", "shm-size", "ulimits", "extra-hosts",
		"entitlements", "cache-from", "cache-to", "attest"} {
		if as := all[name]; len(as) > 0 {
			if err := w.attribute(name, as); err != nil {
				if !slices.Contains(added, name) {
					as = as[len(as)-1:]
				}
				for _, a := range as {
					w.drop(a, err)
				}
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

// added are the attributes whose values a child's come on top of.
var added = []string{"args", "labels", "annotations", "contexts", "secret", "ssh", "cache-from", "no-cache-filter", "ulimits", "extra-hosts", "entitlements", "attest"}

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
		return w.secretMounts(as)
	case "ssh", "cache-from": // a child's come on top
		return w.specs(ours, as)
	case "cache-to":
		return w.specs(ours, as[len(as)-1:])
	case "no-cache-filter", "ulimits", "entitlements":
		return w.specs(ours, as)
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
				if text != "null" { // which leaves a parent's as it is
					pairs[n].expr = text
				}
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
		if name == "contexts" && strings.Contains(text, "target:") {
			return fmt.Errorf("which targets it names cannot be told")
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

// namedContext writes a context, which may be another target, or for each instance
// one of a matrix's.
func (w *imageWriter) namedContext(e hclsyntax.Expression) (string, error) {
	names, err := w.linked(w.t, e)
	if err != nil {
		return "", err
	}
	if names == nil {
		return w.text(e, w.local)
	}
	if literal(e) != "" {
		ref := w.reference(names[0], false)
		if ref == "" {
			return "", fmt.Errorf("there is no target %s", names[0])
		}
		return ref, nil
	}
	inner, ok := w.inner(e)
	if inner, isTarget := strings.CutPrefix(inner, "target:"); ok && isTarget {
		for _, t := range w.order {
			if len(t.instances) > 0 && !slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(t.instances, n) }) {
				return "image." + t.here + "[" + template(inner) + "]", nil
			}
		}
	}
	return "", fmt.Errorf("it names %s, which are not instances of one target with a matrix", strings.Join(names, ", "))
}
