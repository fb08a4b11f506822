package bottlefile

import (
	"encoding/json"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"bottlebuild/graph"
)

var outputSchema = &BlockSchema{
	Name: "output", Labels: []string{"name"}, Many: true,
	Doc: "A value that is printed after a run.",
	Attrs: []*AttrSchema{
		{Name: "value", Type: cty.DynamicPseudoType, Required: true, Doc: "The value; it may use digests of what has run."},
		{Name: "description", Type: cty.String, Early: true, Doc: "What the value is."},
		{Name: "sensitive", Type: cty.Bool, Early: true, Default: "false", Doc: "Keeps the value from being printed."},
	},
}

type output struct{ *block }

// Outputs returns the values of the output blocks as JSON, by name. outputs are
// those of the nodes that have run, by address; an output that needs one that is
// missing is left out. Of a sensitive one only that it is sensitive is returned.
func (f *File) Outputs(outputs graph.Inputs) (map[string]json.RawMessage, hcl.Diagnostics) {
	values := map[string]json.RawMessage{}
	if !f.valid {
		return values, nil
	}
	ev := newEvaluator(f, f.eval, outputs)
	var diags hcl.Diagnostics
	for _, o := range f.outputs {
		b, d := ev.output(o)
		diags = append(diags, d...)
		if b != nil {
			values[o.label()] = b
		}
	}
	return values, tidy(append(diags, ev.diags...))
}

// output evaluates an output; the result is nil if it is not known yet.
func (ev *evaluator) output(o *output) (json.RawMessage, hcl.Diagnostics) {
	d := ev.decoder(o.block, cty.NilVal)
	d.text("description")
	hidden, _ := d.boolean("sensitive", false)
	a := o.attrs["value"]
	if a == nil || d.scope.bad[a.Expr] {
		return nil, d.res.diags
	}
	raw, diags := evalIn(a.Expr, d.ctx)
	d.res.diags = append(d.res.diags, diags...)
	u := unmark(raw)
	switch {
	case diags.HasErrors() || u.poisoned:
		return nil, d.res.diags
	case hasSecret(u.Type()):
		d.report(errorAt(a.Expr.Range(), "Secret used as a value", "The output %q is or has a secret. %s", o.label(), secretAdvice))
		return nil, d.res.diags
	case u.sensitive && !hidden:
		d.report(errorAt(a.Expr.Range(), "Sensitive value", "The output %q uses a sensitive value. Write sensitive = true in it, or leave that value out.", o.label()))
		return nil, d.res.diags
	case !u.IsWhollyKnown():
		return nil, d.res.diags
	case hidden:
		b, err := json.Marshal(concealed)
		if err != nil {
			d.report(errorAt(a.Expr.Range(), "Invalid output", "%s.", err))
		}
		return b, d.res.diags
	}
	v := plain(u.Value)
	b, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		d.report(errorAt(a.Expr.Range(), "Invalid output", "The value cannot be written as JSON: %s.", convertError(err)))
		return nil, d.res.diags
	}
	return b, d.res.diags
}

// plain drops from a value what only means something inside the evaluator.
func plain(v cty.Value) cty.Value {
	ty := v.Type()
	switch {
	case v.IsNull() || ty.IsPrimitiveType():
		return v
	case ty.IsObjectType() || ty.IsMapType():
		m := map[string]cty.Value{}
		for k, e := range v.AsValueMap() {
			if !e.Type().IsCapsuleType() {
				m[k] = plain(e)
			}
		}
		return cty.ObjectVal(m)
	case ty.IsListType() || ty.IsSetType() || ty.IsTupleType():
		es := []cty.Value{}
		for _, e := range v.AsValueSlice() {
			es = append(es, plain(e))
		}
		return cty.TupleVal(es)
	}
	return v
}
