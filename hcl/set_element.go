package bottlefile

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// elementOf returns the key that a path names in an attribute that is a map:
// args.NODE, labels["org.example.x"], labels.org.example.x.
func elementOf(as *AttrSchema, steps []step) (key string, ok bool) {
	if as.Name != steps[0].name || !as.Type.IsMapType() && as.Name != "contexts" {
		return "", false
	}
	var names []string
	for _, s := range steps[1:] {
		if s.selector != "" {
			return "", false
		}
		names = append(names, s.name)
	}
	switch selector := steps[0].selector; {
	case selector == "":
		return strings.Join(names, "."), len(names) > 0
	default:
		return selector, len(names) == 0
	}
}

// elementSchema is what an element of such a map is.
var elementSchema = &AttrSchema{Type: cty.String}

// withElement returns the expression of a map, nil if none is written, with one
// element put in, or in the place of another.
func withElement(whole hcl.Expression, key string, element hclsyntax.Expression) hclsyntax.Expression {
	at := element.Range()
	one := &hclsyntax.ObjectConsExpr{
		Items:    []hclsyntax.ObjectConsItem{{KeyExpr: literalText(key, at), ValueExpr: element}},
		SrcRange: at, OpenRange: at,
	}
	if whole == nil {
		return one
	}
	return &hclsyntax.FunctionCallExpr{
		Name: "merge", Args: []hclsyntax.Expression{whole.(hclsyntax.Expression), one}, // newAttr makes all native
		NameRange: at, OpenParenRange: at, CloseParenRange: at,
	}
}
