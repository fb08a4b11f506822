package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"

	bottlefile "bottlebuild/hcl"
)

// matrixLocals returns what the names of a target's matrix are in its block.
func (b *bake) matrixLocals(t *target) map[string]string {
	local := map[string]string{}
	if a := t.attribute("matrix"); a != nil {
		is, _ := items(a.Expr)
		for _, i := range is {
			local[i.key] = "each.value." + i.key
		}
	}
	return local
}

// forEach writes a matrix: one element per combination, by the name that it has.
func (b *bake) forEach(t *target) (string, error) {
	axes, ok := items(t.attribute("matrix").Expr)
	name := t.attribute("name")
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
	if t.attribute("matrix") == nil {
		return nil
	}
	text, err := b.forEach(t)
	if err != nil {
		return nil
	}
	name := b.localNames.pick(t.here + "_matrix")
	b.add("locals", "The instances of "+t.name+", by the names that bake gives them.").set(name, text)
	t.forEach = "local." + name
	names, _ := b.eval("keys(" + text + ")")
	return names
}

// eval returns the texts that an expression yields, a list of them or one, where
// variables have their defaults.
func (b *bake) eval(text string) ([]string, bool) {
	values := file{}
	for _, blk := range b.blocks {
		if strings.HasPrefix(blk.header, "variable ") || blk.header == "locals" {
			values.blocks = append(values.blocks, blk)
		}
	}
	f, diags := bottlefile.Load(context.Background(), bottlefile.Options{Path: "import", Source: values.result().Source})
	if diags.HasErrors() {
		return nil, false
	}
	e, _, diags := f.Eval(text)
	if diags.HasErrors() || !e.Known {
		return nil, false
	}
	list, ok := e.Value.([]any)
	if !ok {
		list = []any{e.Value}
	}
	var texts []string
	for _, v := range list {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		texts = append(texts, s)
	}
	return texts, true
}

// eachText returns what an expression yields for each instance of a target with a
// matrix, in the order of the instances, or for any other just once. t may be nil.
func (b *bake) eachText(e hclsyntax.Expression, t *target) ([]string, error) {
	if s := literal(e); s != "" {
		return []string{s}, nil
	}
	local := map[string]string{}
	if t != nil {
		for k, v := range b.matrixLocals(t) {
			local[k] = "instance" + strings.TrimPrefix(v, "each.value")
		}
	}
	text, err := b.text(e, local)
	if err != nil {
		return nil, err
	}
	if len(local) > 0 {
		if t.forEach == "" {
			return nil, errors.New("its matrix cannot be told")
		}
		text = "[for _, instance in " + t.forEach + " : " + text + "]"
	}
	texts, ok := b.eval(text)
	if !ok || len(texts) == 0 {
		return nil, errors.New("it cannot be told before bake runs")
	}
	return texts, nil
}

// texts returns the texts in a list of bake. It is an error if they are not the
// same for each instance of the target.
func (b *bake) texts(e hclsyntax.Expression, t *target) ([]string, error) {
	var all []string
	for _, x := range elements(e) {
		each, err := b.eachText(x, t)
		if err != nil {
			return nil, err
		}
		if each = slices.Compact(each); len(each) > 1 {
			return nil, fmt.Errorf("it differs from instance to instance: %s; write what each of them inherits into images of their own", strings.Join(each, ", "))
		}
		all = append(all, each...)
	}
	if all != nil {
		return all, nil
	}
	text, err := b.text(e, nil)
	if err != nil {
		return nil, err
	}
	all, ok := b.eval(text)
	if !ok {
		return nil, errors.New("it cannot be told before bake runs")
	}
	return all, nil
}
