package importer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// sortedAttributes returns a body's attributes in the order of the file.
func sortedAttributes(b *hclsyntax.Body) []*hclsyntax.Attribute {
	var as []*hclsyntax.Attribute
	for _, a := range b.Attributes {
		as = append(as, a)
	}
	slices.SortFunc(as, func(a, b *hclsyntax.Attribute) int { return a.SrcRange.Start.Byte - b.SrcRange.Start.Byte })
	return as
}

// constant returns the value of an expression without references and functions.
func constant(e hcl.Expression) (cty.Value, bool) {
	v, diags := e.Value(nil)
	return v, !diags.HasErrors() && v.IsWhollyKnown() && !v.IsNull()
}

// literal returns a text that is written as such, "" for anything else.
func literal(e hcl.Expression) string {
	if v, ok := constant(e); ok && v.Type() == cty.String {
		return v.AsString()
	}
	return ""
}

// elements returns the expressions in a list that is written as such.
func elements(e hcl.Expression) []hclsyntax.Expression {
	if t, ok := e.(*hclsyntax.TupleConsExpr); ok {
		return t.Exprs
	}
	return nil
}

// items returns the keys and values of a map that is written as such, and false
// for anything else.
func items(e hcl.Expression) ([]item, bool) {
	o, ok := e.(*hclsyntax.ObjectConsExpr)
	if !ok {
		return nil, false
	}
	var is []item
	for _, i := range o.Items {
		key := literal(i.KeyExpr)
		if key == "" {
			return nil, false
		}
		is = append(is, item{key, i.ValueExpr})
	}
	return is, true
}

type item struct {
	key   string
	value hclsyntax.Expression
}

// values returns the values of a map that is written as such.
func values(e hcl.Expression) []hclsyntax.Expression {
	is, _ := items(e)
	var vs []hclsyntax.Expression
	for _, i := range is {
		vs = append(vs, i.value)
	}
	return vs
}

// literalType returns the type of a plain value, "" for any other.
func literalType(e hcl.Expression) string {
	v, ok := constant(e)
	if !ok {
		return ""
	}
	switch v.Type() {
	case cty.String:
		return "string"
	case cty.Number:
		return "number"
	case cty.Bool:
		return "bool"
	}
	return ""
}

func isJSON(path string, src []byte) bool {
	return strings.HasSuffix(path, ".json") || bytes.HasPrefix(bytes.TrimSpace(src), []byte("{"))
}

// labelled are the blocks of a bake file that have a label.
var labelled = []string{"variable", "function", "target", "group"}

// bakeJSON writes a bake file in JSON as one in HCL's own syntax.
func bakeJSON(src []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(src))
	d.UseNumber()
	top, err := ordered(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something after the end")
	}
	object, ok := top.(members)
	if !ok {
		return nil, errors.New("it is not an object")
	}
	var b strings.Builder
	for _, m := range object {
		blocks, isObject := m.value.(members)
		if !slices.Contains(labelled, m.name) || !isObject {
			fmt.Fprintf(&b, "%s = %s\n", m.name, jsonExpr(m.value))
			continue
		}
		for _, block := range blocks {
			fmt.Fprintf(&b, "%s %s {\n", m.name, quote(block.name))
			attrs, ok := block.value.(members)
			if !ok {
				return nil, fmt.Errorf("%s %q is not an object", m.name, block.name)
			}
			for _, a := range attrs {
				text, isText := a.value.(string)
				switch {
				case m.name == "function" && a.name == "result", m.name == "variable" && a.name == "type":
					if isText { // an expression in a text
						text = strings.TrimSuffix(strings.TrimPrefix(text, "${"), "}")
						fmt.Fprintf(&b, "%s = %s\n", a.name, text)
					}
				case m.name == "function" && a.name == "params":
					names := strings.ReplaceAll(jsonExpr(a.value), `"`, "")
					fmt.Fprintf(&b, "%s = %s\n", a.name, names)
				default:
					fmt.Fprintf(&b, "%s = %s\n", a.name, jsonExpr(a.value))
				}
			}
			b.WriteString("}\n")
		}
	}
	return []byte(b.String()), nil
}

// members are an object's, in the order of the file.
type members []member

type member struct {
	name  string
	value any
}

const maxNesting = 100

// ordered reads a JSON value: members, []any, or what json's decoder yields.
func ordered(d *json.Decoder, depth int) (any, error) {
	if depth > maxNesting {
		return nil, fmt.Errorf("it is nested more than %d levels deep", maxNesting)
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		object := members{}
		for d.More() {
			k, err := d.Token()
			if err != nil {
				return nil, err
			}
			v, err := ordered(d, depth+1)
			if err != nil {
				return nil, err
			}
			object = append(object, member{k.(string), v})
		}
		_, err = d.Token()
		return object, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := ordered(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return list, err
	}
	return t, nil
}

// jsonExpr writes a value of a bake file in JSON, in which texts are templates.
func jsonExpr(v any) string {
	switch v := v.(type) {
	case members:
		var pairs []pair
		for _, m := range v {
			pairs = append(pairs, pair{m.name, jsonExpr(m.value)})
		}
		return object(pairs)
	case []any:
		var es []string
		for _, e := range v {
			es = append(es, jsonExpr(e))
		}
		return list(es)
	case string:
		return quoteTemplate(v)
	case nil:
		return "null"
	}
	return fmt.Sprint(v)
}
