package importer

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"bottlebuild/tasks/buildkit"
)

// annotations are a list of KEY=VALUE, and here a map; a child's come on top.
func (w *imageWriter) annotations(as []*hclsyntax.Attribute) error {
	var pairs []pair
	for _, a := range as {
		if elements(a.Expr) == nil {
			return fmt.Errorf("it is no list that is written as such")
		}
		for _, e := range elements(a.Expr) {
			inner, ok := w.inner(e)
			keys, value, found := strings.Cut(inner, "=")
			if !ok || !found || strings.Contains(keys, "${") {
				return fmt.Errorf("it is no list of \"KEY=VALUE\"")
			}
			for _, key := range annotationKeys(keys) {
				if err := buildkit.CheckAnnotation(key); err != nil {
					return err
				}
				pairs = slices.DeleteFunc(pairs, func(p pair) bool { return p.key == key })
				pairs = append(pairs, pair{key, template(value)})
			}
		}
	}
	w.block.set("annotations", object(pairs))
	return nil
}

// annotationKeys takes "index,manifest:KEY" apart, which is a key for each place; a
// place may have a platform in brackets.
func annotationKeys(s string) []string {
	places, key, ok := strings.Cut(s, ":")
	if !ok {
		return []string{s}
	}
	var keys []string
	for place := range strings.SplitSeq(places, ",") {
		keys = append(keys, strings.TrimSpace(place)+":"+key)
	}
	return keys
}

// inner returns what stands between the quotes of a text, or of one that a
// function returns, translated.
func (w *imageWriter) inner(e hclsyntax.Expression) (string, bool) {
	made := e
	if call, ok := e.(*hclsyntax.FunctionCallExpr); ok && w.functions[call.Name] != nil {
		made = w.functions[call.Name].result
	}
	if _, ok := made.(*hclsyntax.TemplateExpr); !ok {
		return "", false
	}
	text, err := w.text(e, w.local)
	if err != nil || !strings.HasPrefix(text, `"`) {
		return "", false
	}
	return text[1 : len(text)-1], true
}

// attestations writes those of a target and its parents: a child's replaces one of
// the same type.
func (w *imageWriter) attestations(as []*hclsyntax.Attribute) error {
	var pairs []pair
	for _, a := range as {
		if elements(a.Expr) == nil {
			return fmt.Errorf("it is no list that is written as such")
		}
		for _, e := range elements(a.Expr) {
			fields, err := w.fields(e)
			if err != nil {
				return err
			}
			kind := fields["type"]
			text := "type=" + kind
			for _, k := range slices.Sorted(maps.Keys(fields)) {
				if k != "type" {
					text += "," + k + "=" + fields[k]
				}
			}
			pairs = slices.DeleteFunc(pairs, func(p pair) bool { return p.key == kind })
			pairs = append(pairs, pair{kind, template(text)})
		}
	}
	var exprs []string
	for _, p := range pairs {
		exprs = append(exprs, p.expr)
	}
	w.block.set("attest", list(exprs))
	return nil
}

// specs writes lists of texts or objects as one list of texts: "type=x,ref=y". A
// child's come after its parents', and those of a parent that it repeats are left
// out; for ssh, those of the same id.
func (w *imageWriter) specs(name string, as []*hclsyntax.Attribute) error {
	var exprs, lists []string
	for _, a := range as {
		if elements(a.Expr) == nil && string(a.Expr.Range().SliceBytes(w.src)) != "[]" {
			text, err := w.text(a.Expr, w.local)
			if err != nil {
				return err
			}
			lists = append(lists, text)
			continue
		}
		for _, e := range elements(a.Expr) {
			text, err := w.spec(name, e)
			if err != nil {
				return err
			}
			exprs = slices.DeleteFunc(exprs, func(old string) bool {
				if name == "ssh" {
					oldID, _, _ := strings.Cut(strings.Trim(old, `"`), "=")
					id, _, _ := strings.Cut(strings.Trim(text, `"`), "=")
					return oldID == id
				}
				return old == text
			})
			exprs = append(exprs, text)
		}
	}
	switch {
	case len(lists) == 0:
		w.block.set(name, list(exprs))
	case len(lists) == 1 && exprs == nil:
		w.block.set(name, lists[0])
	default:
		w.block.set(name, "distinct(concat("+strings.Join(append(lists, list(exprs)), ", ")+"))")
	}
	return nil
}

func (w *imageWriter) spec(name string, e hclsyntax.Expression) (string, error) {
	is, ok := items(e)
	if !ok {
		return w.text(e, w.local)
	}
	var fields []string
	id := ""
	for _, i := range is {
		inner, ok := w.inner(i.value)
		if !ok {
			if inner, ok = literalText(i.value); !ok {
				return "", fmt.Errorf("it is no plain list")
			}
		}
		switch {
		case name == "ssh" && i.key == "id":
			id = inner
		case name == "ssh":
			fields = append(fields, inner)
		default:
			fields = append(fields, i.key+"="+inner)
		}
	}
	text := strings.Join(fields, ",")
	if name == "ssh" {
		text = strings.TrimSuffix(id+"="+text, "=")
	}
	return template(text), nil
}

func literalText(e hclsyntax.Expression) (string, bool) {
	v, ok := constant(e)
	if !ok || !v.Type().IsPrimitiveType() {
		return "", false
	}
	s, err := convert.Convert(v, cty.String)
	if err != nil {
		return "", false
	}
	return s.AsString(), true
}
