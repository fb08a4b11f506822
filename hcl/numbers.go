package bottlefile

import (
	"errors"
	"maps"
	"sync"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// A text of a few letters can stand for a number of millions of digits, "1e99999999",
// and is made one wherever a number is wanted; to write such a number takes hours, and
// that cannot be interrupted. So no function and no operator takes or yields one.

// bounded returns f with bounds on numbers.
func bounded(f function.Function) function.Function {
	everything := func(p function.Parameter) function.Parameter { // f itself deals with it
		p.AllowNull, p.AllowUnknown, p.AllowDynamicType, p.AllowMarked = true, true, true, true
		return p
	}
	spec := &function.Spec{
		Description: f.Description(),
		Type:        f.ReturnTypeForValues,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			for i, a := range args {
				if why := tooLong(a); why != "" {
					return cty.NilVal, function.NewArgErrorf(i, "%s", why)
				}
			}
			v, err := f.Call(args)
			if err != nil {
				return v, err
			}
			if why := tooLong(v); why != "" {
				return cty.NilVal, errors.New(why)
			}
			return v, nil
		},
	}
	for _, p := range f.Params() {
		spec.Params = append(spec.Params, everything(p))
	}
	if p := f.VarParam(); p != nil {
		rest := everything(*p)
		spec.VarParam = &rest
	}
	return function.New(spec)
}

// tooLong says why a number has too many digits; an infinite one has none.
func tooLong(v cty.Value) string {
	if v.Type() != cty.Number {
		return ""
	}
	if v, _ = v.Unmark(); !v.IsKnown() || v.IsNull() || v.AsBigFloat().IsInf() {
		return ""
	}
	if why := tooLarge(v); why != "" {
		return "it " + why
	}
	return ""
}

// takesNumbers tells whether an argument of f can be a number, or be made one.
func takesNumbers(f function.Function) bool {
	params := f.Params()
	if p := f.VarParam(); p != nil {
		params = append(params, *p)
	}
	for _, p := range params {
		if p.Type == cty.Number || p.Type == cty.DynamicPseudoType {
			return true
		}
	}
	return false
}

// boundedFunctions are the pure ones.
var boundedFunctions = sync.OnceValue(func() map[string]function.Function {
	all := maps.Clone(pureFunctions)
	for name, f := range all {
		if takesNumbers(f) {
			all[name] = bounded(f)
		}
	}
	return all
})

// boundedOps are the operators that yield numbers, by those that they stand for.
var boundedOps = sync.OnceValue(func() map[*hclsyntax.Operation]*hclsyntax.Operation {
	ops := map[*hclsyntax.Operation]*hclsyntax.Operation{}
	for _, op := range []*hclsyntax.Operation{
		hclsyntax.OpAdd, hclsyntax.OpSubtract, hclsyntax.OpMultiply, hclsyntax.OpDivide, hclsyntax.OpModulo, hclsyntax.OpNegate,
	} {
		ops[op] = &hclsyntax.Operation{Impl: bounded(op.Impl), Type: op.Type}
	}
	return ops
})

func boundedOp(op *hclsyntax.Operation) *hclsyntax.Operation {
	if b := boundedOps()[op]; b != nil {
		return b
	}
	return op
}
