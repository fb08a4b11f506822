package bottlefile

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// roots are the names that references start with.
var roots = []string{"var", "local", "image", "bottle", "registry", "secret", "each"}

// resolve splits a reference into its root and the name after it.
func (f *File) resolve(t hcl.Traversal) (root, name string, d *hcl.Diagnostic) {
	root = t.RootName()
	at := t.SourceRange()
	switch root {
	case "var", "local", "image", "bottle", "registry", "secret":
	case "each":
		return "", "", errorAt(at, "No for_each here", "each.key and each.value are there only in an image or bottle with for_each, and not in its for_each itself.")
	default:
		return "", "", f.unknownRoot(t)
	}
	if len(t) > 1 {
		switch step := t[1].(type) {
		case hcl.TraverseAttr:
			return root, step.Name, nil
		case hcl.TraverseIndex:
			if step.Key.Type() == cty.String {
				return root, step.Key.AsString(), nil
			}
		}
	}
	return "", "", errorAt(at, "Incomplete reference", "%q must be followed by a dot and a name: %s.%s", root, root, didYouMean("", qualified(root, f.names(root))))
}

func qualified(root string, names []string) []string {
	q := make([]string, len(names))
	for i, n := range names {
		q[i] = root + "." + n
	}
	return q
}

func (f *File) unknownRoot(t hcl.Traversal) *hcl.Diagnostic {
	root, at := t.RootName(), t.SourceRange()
	if root == "env" {
		return errorAt(at, "Unknown reference", "There is no \"env\": the environment reaches a bottle file through variables only. Declare variable \"x\" {} and set BOTTLE_VAR_x.")
	}
	if why := foreignRoots[root]; why != "" {
		return errorAt(at, "Unknown reference", "There is no %q. %s", root, why)
	}
	for _, r := range roots[:len(roots)-1] {
		for _, n := range f.names(r) {
			if n == root {
				return errorAt(at, "Unknown reference", "There is no %q. Did you mean %s.%s? A text is written in quotes.", root, r, n)
			}
		}
	}
	hint := " A reference starts with var, local, image, bottle, registry, secret or each. A text is written in quotes."
	if m := suggest(root, roots); m != "" && len(t) > 1 {
		hint = fmt.Sprintf(" Did you mean %q?", m)
	}
	return errorAt(at, "Unknown reference", "There is no %q.%s", root, hint)
}

// undeclared reports a reference to a name that is not declared under its root.
func (f *File) undeclared(root, name string, t hcl.Traversal) *hcl.Diagnostic {
	kind := map[string]string{"var": "variable", "local": "local"}[root]
	if kind == "" {
		kind = root
	}
	hint := ""
	if m := suggest(name, f.names(root)); m != "" {
		hint = fmt.Sprintf(" Did you mean %s.%s?", root, m)
	} else {
		for _, other := range roots[:len(roots)-1] {
			for _, n := range f.names(other) {
				if other != root && n == name && hint == "" {
					hint = fmt.Sprintf(" Did you mean %s.%s?", other, n)
				}
			}
		}
	}
	if hint == "" {
		hint = didYouMean(name, qualified(root, f.names(root)))
	}
	return errorAt(t.SourceRange(), "Undeclared "+kind, "There is no %s.%s.%s", root, name, hint)
}

// evalIn evaluates an expression and makes its diagnostics fit to be shown: with
// what was probably meant, and without anything sensitive.
func evalIn(e hcl.Expression, ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	v, diags := e.Value(ctx)
	if len(diags) == 0 {
		return v, nil
	}
	secret, poison, capsule := false, false, false
	for _, t := range e.Variables() {
		if v, d := t.TraverseAbs(ctx); !d.HasErrors() {
			secret = secret || isSensitive(v)
			capsule = capsule || hasSecret(v.Type())
			poison = poison || v.HasMarkDeep(poisonMark{})
		} else if v, d := t[:min(2, len(t))].TraverseAbs(ctx); !d.HasErrors() {
			secret = secret || isSensitive(v)
			capsule = capsule || hasSecret(v.Type())
			poison = poison || v.HasMarkDeep(poisonMark{})
		}
	}
	if poison { // what went wrong before may be the cause
		return poisoned, hcl.Diagnostics{}
	}
	for _, d := range diags {
		switch {
		case explainIterations(d), explainFunction(d):
		case secret:
			conceal(d)
		case capsule:
			d.Summary, d.Detail = "Secret used as a value", secretAdvice
		default:
			explain(d)
		}
	}
	return v, diags
}

// conceal drops all that a diagnostic could say of values.
func conceal(d *hcl.Diagnostic) {
	d.Expression, d.EvalContext = nil, nil
	if d.Summary != "Unsupported attribute" {
		d.Detail = "The reason is not shown, since the expression uses a sensitive value and the reason could show it."
	}
}

// explain finds out at which step a reference fails, and what there is instead.
func explain(d *hcl.Diagnostic) {
	if d.Expression == nil || d.EvalContext == nil {
		return
	}
	switch e := d.Expression.(type) {
	case *hclsyntax.ScopeTraversalExpr:
		for n := 1; n < len(e.Traversal); n++ {
			v, diags := e.Traversal[:n].TraverseAbs(d.EvalContext)
			if diags.HasErrors() {
				return
			}
			if _, diags := e.Traversal[n : n+1 : n+1].TraverseRel(v); diags.HasErrors() {
				explainStep(d, traversalText(e.Traversal[:n]), v, e.Traversal[n])
				return
			}
		}
	case *hclsyntax.IndexExpr:
		coll, diags := e.Collection.Value(d.EvalContext)
		key, keyDiags := e.Key.Value(d.EvalContext)
		if !diags.HasErrors() && !keyDiags.HasErrors() && d.Summary == "Invalid index" {
			of := "this value"
			if t, ok := e.Collection.(*hclsyntax.ScopeTraversalExpr); ok {
				of = traversalText(t.Traversal)
			}
			explainStep(d, of, coll, hcl.TraverseIndex{Key: key})
		}
	case *hclsyntax.RelativeTraversalExpr:
		v, diags := e.Source.Value(d.EvalContext)
		for n := 0; n < len(e.Traversal) && !diags.HasErrors(); n++ {
			next, stepDiags := e.Traversal[n : n+1 : n+1].TraverseRel(v)
			if stepDiags.HasErrors() {
				explainStep(d, "this value", v, e.Traversal[n])
				return
			}
			v = next
		}
	}
}

func explainStep(d *hcl.Diagnostic, of string, v cty.Value, step hcl.Traverser) {
	var name string
	switch s := step.(type) {
	case hcl.TraverseAttr:
		name = s.Name
	case hcl.TraverseIndex:
		key, _ := s.Key.UnmarkDeep()
		if key.IsNull() || !key.IsKnown() {
			return
		}
		key, err := convert.Convert(key, cty.String)
		if err != nil {
			return
		}
		name = key.AsString()
	}
	v, _ = v.Unmark()
	ty := v.Type()
	if v.IsNull() || !v.IsKnown() {
		return
	}
	switch {
	case ty.IsMapType():
		d.Summary = "No such key"
		d.Detail = fmt.Sprintf("%s has no element %q.%s", startOf(of), name, didYouMean(name, sortedKeys(v.AsValueMap())))
		if ty.ElementType().IsObjectType() && ty.ElementType().HasAttribute(name) && v.LengthInt() > 0 {
			d.Detail = fmt.Sprintf("%s has one instance per element of its for_each: write %s[\"KEY\"].%s, with one of the keys %s.", startOf(of), of, name, oneOf(firstOf(sortedKeys(v.AsValueMap()), 6)))
		}
	case ty.IsObjectType():
		options := sortedKeys(ty.AttributeTypes())
		d.Summary = "No such attribute"
		d.Detail = fmt.Sprintf("%s has no attribute %q.%s", startOf(of), name, didYouMean(name, options))
		if s := bottleSchema.block(name); s != nil && ty.HasAttribute(bottleMarker) {
			d.Detail = fmt.Sprintf("%s has no %s: its bottle has no %s block. Write one.", startOf(of), name, name)
		}
	case ty.IsListType() || ty.IsTupleType():
		d.Summary = "No such element"
		d.Detail = fmt.Sprintf("%s has %d elements, counted from 0; there is no element %s.", startOf(of), v.LengthInt(), name)
	}
}

// startOf begins a sentence with what a diagnostic is about; a reference stays as
// it is written.
func startOf(of string) string {
	if of == "this value" {
		return upperFirst(of)
	}
	return of
}

func firstOf(s []string, n int) []string { return s[:min(n, len(s))] }

// traversalText writes a traversal as a user would.
func traversalText(t hcl.Traversal) string {
	var b strings.Builder
	for _, step := range t {
		switch s := step.(type) {
		case hcl.TraverseRoot:
			b.WriteString(s.Name)
		case hcl.TraverseAttr:
			b.WriteString("." + s.Name)
		case hcl.TraverseIndex:
			b.WriteString("[" + show(s.Key, s.Key.IsMarked()) + "]")
		}
	}
	return b.String()
}

// convertError says where in a value a conversion failed, and why.
func convertError(err error) string {
	var pe cty.PathError
	if errors.As(err, &pe) && len(pe.Path) > 0 {
		return fmt.Sprintf("at %s, %s", pathString(pe.Path), pe.Error())
	}
	return err.Error()
}

func pathString(p cty.Path) string {
	var b strings.Builder
	for _, step := range p {
		switch s := step.(type) {
		case cty.GetAttrStep:
			b.WriteString("." + s.Name)
		case cty.IndexStep:
			b.WriteString("[" + show(s.Key, s.Key.IsMarked()) + "]")
		}
	}
	return strings.TrimPrefix(b.String(), ".")
}
