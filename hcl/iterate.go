package bottlefile

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// maxIterations bounds how many elements all for expressions and splats of a file
// go over while it is compiled. Each takes about a microsecond, and three for
// expressions inside each other would otherwise reach a thousand million with a
// line of input.
const maxIterations = 2_000_000

// iterateName is the name of a function that no bottle file can write.
const iterateName = "(iterate)"

// iterations counts what for expressions go over.
type iterations struct {
	limit  int64
	count  atomic.Int64
	done   atomic.Bool // the file is compiled; evaluating it again costs no more
	failed atomic.Bool
}

var errIterations = errors.New("too many iterations")

// boundIn makes every for expression and splat below node take its collection
// through the counter, and every operator refuse numbers of too many digits.
func boundIn(node hclsyntax.Node) hcl.Diagnostics {
	return hclsyntax.VisitAll(node, func(n hclsyntax.Node) hcl.Diagnostics {
		switch e := n.(type) {
		case *hclsyntax.ForExpr:
			e.CollExpr = counted(e.CollExpr)
		case *hclsyntax.SplatExpr:
			e.Source = counted(e.Source)
		case *hclsyntax.BinaryOpExpr:
			e.Op = boundedOp(e.Op)
		case *hclsyntax.UnaryOpExpr:
			e.Op = boundedOp(e.Op)
		}
		return nil
	})
}

func counted(e hclsyntax.Expression) hclsyntax.Expression {
	r := e.Range()
	return &hclsyntax.FunctionCallExpr{
		Name: iterateName, Args: []hclsyntax.Expression{e},
		NameRange: r, OpenParenRange: r, CloseParenRange: r,
	}
}

// function returns its argument, until the bound is reached: then once an error,
// and after that unknown values, over which nothing iterates.
func (c *iterations) function() function.Function {
	return function.New(&function.Spec{
		Params: anyMarked,
		Type:   sameType,
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			v, _ := args[0].Unmark()
			if c.done.Load() || !v.IsKnown() || v.IsNull() || !v.CanIterateElements() {
				return args[0], nil
			}
			if c.count.Add(int64(v.LengthInt())) <= c.limit {
				return args[0], nil
			}
			if c.failed.CompareAndSwap(false, true) {
				return cty.NilVal, errIterations
			}
			return cty.UnknownVal(args[0].Type()).WithSameMarks(args[0]), nil
		},
	})
}

// explainIterations rewrites the counter's error.
func explainIterations(d *hcl.Diagnostic) bool {
	extra, ok := hcl.DiagnosticExtra[hclsyntax.FunctionCallDiagExtra](d)
	if !ok || extra.CalledFunctionName() != iterateName {
		return false
	}
	d.Summary = "Too many iterations"
	d.Detail = "The for expressions of this file go over more than two million elements in all. Compute a large value once, in a local, and let each use refer to that."
	return true
}
