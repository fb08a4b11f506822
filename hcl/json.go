package bottlefile

import (
	"bytes"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// The JSON syntax. Its expressions are made into those of HCL's own syntax when a
// block is read, so that the rest of the package meets one kind only, and so that
// the templates in its strings are bounded and counted like all others.

// nativeExpr makes an expression of HCL's own syntax of one of the JSON syntax.
// In a static attribute a string is a reference or a type; elsewhere it is a
// template.
func nativeExpr(e hcl.Expression, static bool) (hclsyntax.Expression, hcl.Diagnostics) {
	at := e.Range()
	if pairs, d := hcl.ExprMap(e); !d.HasErrors() {
		object := &hclsyntax.ObjectConsExpr{SrcRange: at, OpenRange: e.StartRange()}
		var diags hcl.Diagnostics
		for _, p := range pairs {
			k, kd := nativeExpr(p.Key, false)
			v, vd := nativeExpr(p.Value, static)
			diags = append(append(diags, kd...), vd...)
			object.Items = append(object.Items, hclsyntax.ObjectConsItem{
				KeyExpr: &hclsyntax.ObjectConsKeyExpr{Wrapped: k, ForceNonLiteral: true}, ValueExpr: v,
			})
		}
		return object, diags
	}
	if elements, d := hcl.ExprList(e); !d.HasErrors() {
		tuple := &hclsyntax.TupleConsExpr{SrcRange: at, OpenRange: e.StartRange()}
		var diags hcl.Diagnostics
		for _, e := range elements {
			n, nd := nativeExpr(e, static)
			diags = append(diags, nd...)
			tuple.Exprs = append(tuple.Exprs, n)
		}
		return tuple, diags
	}
	v, diags := e.Value(nil) // without a context a string is taken as it is
	if diags.HasErrors() || v.Type() != cty.String || v.IsNull() {
		return &hclsyntax.LiteralValueExpr{Val: v, SrcRange: at}, diags
	}
	if static {
		return staticText(v.AsString(), at), nil
	}
	return templateText(v.AsString(), at)
}

func literalText(s string, at hcl.Range) hclsyntax.Expression {
	return &hclsyntax.TemplateExpr{
		Parts: []hclsyntax.Expression{&hclsyntax.LiteralValueExpr{Val: cty.StringVal(s), SrcRange: at}}, SrcRange: at,
	}
}

// inside is where the text of a quoted string starts.
func inside(at hcl.Range) hcl.Pos {
	return hcl.Pos{Line: at.Start.Line, Column: at.Start.Column + 1, Byte: at.Start.Byte + 1}
}

// staticText reads a reference or a type, else a text.
func staticText(s string, at hcl.Range) hclsyntax.Expression {
	if checkBounds([]byte(s), at.Filename, hclsyntax.LexExpression).HasErrors() {
		return literalText(s, at)
	}
	e, diags := hclsyntax.ParseExpression([]byte(s), at.Filename, inside(at))
	if !diags.HasErrors() {
		switch e.(type) {
		case *hclsyntax.ScopeTraversalExpr, *hclsyntax.FunctionCallExpr:
			return e
		}
	}
	return literalText(s, at)
}

func templateText(s string, at hcl.Range) (hclsyntax.Expression, hcl.Diagnostics) {
	if !strings.Contains(s, "${") && !strings.Contains(s, "%{") {
		return literalText(s, at), nil
	}
	diags := checkBounds([]byte(s), at.Filename, hclsyntax.LexTemplate)
	if !diags.HasErrors() {
		var e hclsyntax.Expression
		e, diags = hclsyntax.ParseTemplate([]byte(s), at.Filename, inside(at))
		if w, ok := e.(*hclsyntax.TemplateWrapExpr); ok {
			e = w.Wrapped
		}
		if !diags.HasErrors() {
			return e, append(diags, boundIn(e)...)
		}
	}
	for _, d := range diags { // escapes make places inside the string inexact
		d.Subject, d.Context = at.Ptr(), nil
	}
	return literalText("", at), diags
}

// checkJSONBounds reports JSON that may not be given to the parser.
func checkJSONBounds(src []byte, filename string) hcl.Diagnostics {
	if diags := checkSize(src, filename); diags.HasErrors() {
		return diags
	}
	depth := 0
	for i := 0; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"':
			i = endOfString(src, i)
		case c == '{' || c == '[':
			if depth++; depth > MaxNesting {
				return hcl.Diagnostics{errorAt(placeIn(src, i, filename), "Nested too deeply", "At most %d objects and arrays may stand inside each other.", MaxNesting)}
			}
		case c == '}' || c == ']':
			depth--
		case c >= '0' && c <= '9':
			end := i
			for end < len(src) && bytes.IndexByte([]byte("0123456789.eE+-"), src[end]) >= 0 {
				end++
			}
			if exponent(src[i:end]) > maxExponent {
				return hcl.Diagnostics{errorAt(placeIn(src, i, filename), "Number too large", "Its exponent may be at most %d.", maxExponent)}
			}
			i = end - 1
		}
	}
	return nil
}

// endOfString returns where the string that starts at i ends.
func endOfString(src []byte, i int) int {
	for i++; i < len(src) && src[i] != '"'; i++ {
		if src[i] == '\\' {
			i++
		}
	}
	return i
}

func placeIn(src []byte, i int, filename string) hcl.Range {
	before := src[:i]
	start := hcl.Pos{Line: 1 + bytes.Count(before, []byte("\n")), Column: i - bytes.LastIndexByte(before, '\n'), Byte: i}
	end := start
	end.Column++
	end.Byte++
	return hcl.Range{Filename: filename, Start: start, End: end}
}
