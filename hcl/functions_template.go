package bottlefile

import (
	"errors"
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// templateFunc renders a file as a template. Templates can use all functions but
// templatefile itself.
func (r *fileReader) templateFunc(fns map[string]function.Function) function.Function {
	return function.New(&function.Spec{
		Description: "Renders a file as a template, with the elements of an object as its variables.",
		Params:      []function.Parameter{{Name: "path", Type: cty.String}, {Name: "vars", Type: cty.DynamicPseudoType}},
		Type:        function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			path := args[0].AsString()
			text, err := r.text(path)
			if err != nil {
				return cty.NilVal, function.NewArgErrorf(0, "cannot read %q: %w", path, err)
			}
			if ty := args[1].Type(); !ty.IsObjectType() && !ty.IsMapType() {
				return cty.NilVal, function.NewArgErrorf(1, "it must be an object of the template's variables")
			}
			return render(path, text, args[1].AsValueMap(), fns)
		},
	})
}

func render(path, text string, vars map[string]cty.Value, files map[string]function.Function) (cty.Value, error) {
	if diags := checkBounds([]byte(text), path, hclsyntax.LexTemplate); diags.HasErrors() {
		return cty.NilVal, diags
	}
	expr, diags := hclsyntax.ParseTemplate([]byte(text), path, hcl.InitialPos)
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	if diags := boundIn(expr); diags.HasErrors() {
		return cty.NilVal, diags
	}
	ctx := &hcl.EvalContext{Variables: vars, Functions: boundedFunctions()}
	local := map[string]function.Function{}
	for name, f := range files {
		if name != "templatefile" {
			local[name] = f
		}
	}
	ctx = ctx.NewChild()
	ctx.Functions = local
	for _, t := range expr.Variables() {
		if _, ok := vars[t.RootName()]; !ok {
			hint := "" // in the middle of HCL's sentence
			if m := suggest(t.RootName(), sortedKeys(vars)); m != "" {
				hint = fmt.Sprintf(" (did you mean %q?)", m)
			}
			return cty.NilVal, fmt.Errorf("%s uses %q, which is not among the variables given%s", place(t.SourceRange()), t.RootName(), hint)
		}
	}
	v, diags := expr.Value(ctx)
	if diags.HasErrors() {
		return cty.NilVal, diags
	}
	if v.IsNull() {
		return cty.NilVal, errors.New("the template yields null")
	}
	return v, nil
}
