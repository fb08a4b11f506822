package bottlefile

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Evaluation is the value of an expression, fit to be shown.
type Evaluation struct {
	Text string `json:"-"` // as HCL; parts that are not known or sensitive are named in parentheses

	Type      string   `json:"type"`            // "any" if sensitive
	Value     any      `json:"value"`           // null where it is not known or sensitive
	Known     bool     `json:"known"`           // before anything runs
	Needs     []string `json:"needs,omitempty"` // addresses of the nodes whose outputs are missing
	Sensitive bool     `json:"sensitive"`       // has parts that are not shown
}

// expressionName stands for a file's name in diagnostics of an expression.
const expressionName = "<expression>"

// Eval evaluates an expression in the scope of the file, in which all run-time
// outputs are unknown. The file that it returns serves [WriteDiagnostics] only.
func (f *File) Eval(source string) (Evaluation, *File, Diagnostics) {
	shown := &File{sources: maps.Clone(f.sources)}
	shown.sources[expressionName] = &hcl.File{Bytes: []byte(source)}
	if !f.valid {
		return Evaluation{}, shown, Diagnostics{{Severity: hcl.DiagError, Summary: "Bottle file has errors", Detail: "No expression can be evaluated in a file with errors."}}
	}
	if diags := checkBounds([]byte(source), expressionName, hclsyntax.LexExpression); diags.HasErrors() {
		return Evaluation{}, shown, diags
	}
	expr, diags := hclsyntax.ParseExpression([]byte(source), expressionName, hcl.InitialPos)
	if diags.HasErrors() {
		return Evaluation{}, shown, tidy(diags)
	}
	_ = boundIn(expr)
	count := &iterations{limit: maxIterations}
	ev := newEvaluator(f, f.eval, nil)
	functions := maps.Clone(boundedFunctions())
	maps.Copy(functions, f.files.functions(count.function()))
	ev.functions = &hcl.EvalContext{Functions: functions}
	s := ev.scopeOf([]*attr{{Attribute: &hcl.Attribute{Expr: expr}}}, false)
	if s.bad[expr] || ev.diags.HasErrors() {
		return Evaluation{}, shown, tidy(ev.diags)
	}
	v, diags := evalIn(expr, s.ctx)
	if diags = append(diags, ev.diags...); diags.HasErrors() {
		return Evaluation{}, shown, tidy(diags)
	}
	if why := tooLarge(v); why != "" {
		return Evaluation{}, shown, Diagnostics{errorAt(expr.Range(), "Value too large", "It %s.", why)}
	}
	e := Evaluation{Text: displayed(v, false), Type: typeexpr.TypeString(shownType(v.Type())), Known: true}
	e.Value = e.jsonable(v)
	if e.Sensitive { // the names of attributes can be values
		e.Type = "any"
	}
	slices.Sort(e.Needs)
	e.Needs = slices.Compact(e.Needs)
	return e, shown, nil
}

// jsonable returns a value in the form that encoding/json takes, and notes what
// cannot be shown of it.
func (e *Evaluation) jsonable(v cty.Value) any {
	v, marks := v.Unmark()
	if _, hidden := marks[sensitiveMark{}]; hidden {
		e.Sensitive = true
		return nil
	}
	ty := v.Type()
	switch {
	case !v.IsKnown():
		e.Known = false
		e.Needs = append(e.Needs, unmark(cty.DynamicVal.WithMarks(marks)).refs...)
		return nil
	case v.IsNull() || ty.IsCapsuleType():
		return nil
	case ty == cty.String:
		return v.AsString()
	case ty == cty.Bool:
		return v.True()
	case ty == cty.Number:
		return json.Number(v.AsBigFloat().Text('g', -1))
	case ty.IsObjectType() || ty.IsMapType():
		m := map[string]any{}
		for k, element := range v.AsValueMap() {
			if !element.Type().IsCapsuleType() {
				m[k] = e.jsonable(element)
			}
		}
		return m
	}
	list := []any{}
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		list = append(list, e.jsonable(element))
	}
	return list
}

// shownType drops from a type what only means something inside the evaluator.
func shownType(ty cty.Type) cty.Type {
	switch {
	case ty.IsCapsuleType():
		return cty.DynamicPseudoType
	case ty.IsObjectType():
		attrs := map[string]cty.Type{}
		for k, t := range ty.AttributeTypes() {
			if !t.IsCapsuleType() {
				attrs[k] = shownType(t)
			}
		}
		return cty.Object(attrs)
	case ty.IsMapType():
		return cty.Map(shownType(ty.ElementType()))
	case ty.IsListType():
		return cty.List(shownType(ty.ElementType()))
	case ty.IsSetType():
		return cty.Set(shownType(ty.ElementType()))
	case ty.IsTupleType():
		var types []cty.Type
		for _, t := range ty.TupleElementTypes() {
			types = append(types, shownType(t))
		}
		return cty.Tuple(types)
	}
	return ty
}
