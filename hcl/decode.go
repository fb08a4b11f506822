package bottlefile

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"

	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// decoded is what evaluating a block yields.
type decoded struct {
	params graph.Params
	deps   []string // addresses of nodes, in the order in which they were found
	late   bool     // something is known only after one of deps has run
	hidden []string // components of the recipe that are made of sensitive values
	diags  hcl.Diagnostics
}

func (r *decoded) dependOn(addresses ...string) {
	for _, a := range addresses {
		if !slices.Contains(r.deps, a) {
			r.deps = append(r.deps, a)
		}
	}
}

func (r *decoded) hide(components ...string) {
	for _, c := range components {
		if !slices.Contains(r.hidden, c) {
			r.hidden = append(r.hidden, c)
		}
	}
}

// component names the components of a recipe that an attribute becomes. Those
// of a block in a machine go by the name of the block.
func (d *decoder) component(a *attr) string {
	switch d.b.schema.Name {
	case networkSchema.Name, fileSchema.Name, portSchema.Name, volumeSchema.Name, provisionSchema.Name:
		return d.b.schema.Name
	}
	return a.Name
}

// withHidden returns parameters that say what of them is sensitive.
func withHidden(params graph.Params, hidden []string) graph.Params {
	switch p := params.(type) {
	case tasks.Image:
		p.Sensitive = hidden
		return p
	case tasks.Push:
		p.Sensitive = hidden
		return p
	case tasks.Machine:
		p.Sensitive = hidden
		return p
	}
	return params
}

// needFirst puts the node that another is made from before what else it needs.
func (r *decoded) needFirst(address string) {
	others := slices.DeleteFunc(r.deps, func(a string) bool { return a == address })
	r.deps = append([]string{address}, others...)
}

// decoder reads the attributes of a block as its schema declares them. Faults
// are collected in res, which decoders of nested blocks share.
type decoder struct {
	ev    *evaluator
	b     *block
	scope *scope
	ctx   *hcl.EvalContext
	res   *decoded
}

// decoder returns a decoder of a declaration, in whose scope are the references
// of b and the blocks in it. each is NilVal where there is no for_each.
func (ev *evaluator) decoder(b *block, each cty.Value) *decoder {
	s := ev.scopeFor(b, each != cty.NilVal)
	d := &decoder{ev: ev, b: b, scope: s, ctx: s.ctx, res: &decoded{}}
	if each != cty.NilVal {
		d.ctx = s.ctx.NewChild()
		d.ctx.Variables = map[string]cty.Value{"each": each}
	}
	return d
}

// in returns a decoder of a block in d's.
func (d *decoder) in(b *block) *decoder {
	n := *d
	n.b = b
	if b.iter != nil {
		n.bind(b.iter.iterator, b.iter.current(d))
	}
	return &n
}

// apart returns a decoder of a block in d's, with a result of its own.
func (d *decoder) apart(b *block) *decoder {
	n := d.in(b)
	n.res = &decoded{}
	return n
}

func (d *decoder) report(diag *hcl.Diagnostic) { d.res.diags = append(d.res.diags, diag) }

// value is the value of an attribute, of the type that the schema says, known
// and not null.
type value struct {
	cty.Value
	attr      *attr
	sensitive bool
	null      bool   // the attribute is written, and null
	key       string // of which element of the attribute's value it is
	number    int    // of a list's element, counted from 1
}

// quote returns the value as messages show it.
func (v value) quote() string { return show(v.Value, v.sensitive) }

// name returns what messages call it: `env["PATH"]`, "tags[0]".
func (v value) name() string {
	switch {
	case v.number > 0:
		return fmt.Sprintf("%s[%d]", v.attr.Name, v.number-1)
	case v.key != "":
		return fmt.Sprintf("%s[%q]", v.attr.Name, v.key)
	}
	return v.attr.Name
}

// at returns where the value stands, if it can be told from the rest of the
// attribute's.
func (v value) at() hcl.Range {
	e := v.attr.Expr
	switch {
	case v.number > 0:
		if list, diags := hcl.ExprList(e); !diags.HasErrors() && v.number <= len(list) {
			return list[v.number-1].Range()
		}
	case v.key != "":
		pairs, diags := hcl.ExprMap(e)
		for _, p := range pairs {
			if k, kd := p.Key.Value(nil); !diags.HasErrors() && !kd.HasErrors() && k.Type() == cty.String && k.IsKnown() && !k.IsNull() && k.AsString() == v.key {
				return p.Value.Range()
			}
		}
	}
	return e.Range()
}

// fault reports a value.
func (d *decoder) fault(v value, summary, format string, args ...any) {
	d.report(errorAt(v.at(), summary, format, args...))
}

// raw evaluates an attribute and leaves it marked, and of any type; it may be
// null. It returns false if it is not written or cannot be evaluated.
func (d *decoder) raw(name string) (cty.Value, *attr, bool) {
	a := d.b.attrs[name]
	if a == nil || d.scope.bad[a.Expr] {
		return cty.NilVal, a, false
	}
	v, diags := evalIn(a.Expr, d.ctx)
	d.res.diags = append(d.res.diags, diags...)
	return v, a, !diags.HasErrors()
}

// object is raw for what is neither null nor of a type that is converted to.
func (d *decoder) object(name string) (cty.Value, *attr, bool) {
	v, a, ok := d.raw(name)
	if ok && v.IsNull() {
		d.required(a)
		ok = false
	}
	return v, a, ok
}

func (d *decoder) required(a *attr) {
	if a.schema.Required {
		d.report(errorAt(a.Expr.Range(), "Null value", "%s is required and may not be null.", a.Name))
	}
}

// get evaluates an attribute to the type of its schema. It returns false if there
// is no such value: not written, null, faulty, or known only later, which it
// notes.
func (d *decoder) get(name string) (value, bool) {
	a := d.b.attrs[name]
	if a == nil || a.each {
		return d.find(name)
	}
	f := d.ev.fixed[a]
	if f == nil {
		f = &fixed{}
		once := *d
		once.res = &f.res
		f.value, f.ok = once.find(name)
		d.ev.fixed[a] = f
	}
	d.res.dependOn(f.res.deps...)
	d.res.late = d.res.late || f.res.late
	d.res.hide(f.res.hidden...)
	d.res.diags = append(d.res.diags, f.res.diags...)
	return f.value, f.ok
}

// fixed is what get found for an attribute that all instances share.
type fixed struct {
	value value
	ok    bool
	res   decoded
}

func (d *decoder) find(name string) (value, bool) {
	raw, a, ok := d.raw(name)
	if !ok {
		return value{attr: a}, false
	}
	v, ok := d.resolve(raw, a, a.schema.Type, "")
	if ok && v.IsNull() {
		d.required(a)
		v.null = true
		return v, false
	}
	return v, ok
}

// resolve converts a value, or a part of one, and takes note of its marks.
func (d *decoder) resolve(raw cty.Value, a *attr, ty cty.Type, key string) (value, bool) {
	u := unmark(raw)
	v := value{attr: a, sensitive: u.sensitive, key: key}
	if u.sensitive {
		d.res.hide(d.component(a))
	}
	d.res.dependOn(u.refs...)
	if u.poisoned {
		d.res.late = true
		return v, false
	}
	if hasSecret(u.Type()) {
		d.fault(v, "Secret used as a value", "%s is or has a secret. %s", v.name(), secretAdvice)
		return v, false
	}
	converted, err := convertTo(u.Value, ty)
	if err != nil {
		why := convertError(err)
		if u.sensitive {
			why = "it is not a " + ty.FriendlyNameForConstraint()
		}
		if from := u.Type(); ty.IsMapType() && (from.IsTupleType() || from.IsListType()) {
			why = "this is a list. Write { NAME = \"value\" }"
		}
		d.fault(v, "Wrong type", "%s is a %s: %s.", v.name(), ty.FriendlyNameForConstraint(), why)
		return v, false
	}
	v.Value = converted
	switch {
	case a.schema.Early && !converted.IsWhollyKnown():
		d.fault(v, "Value not known", "%s must be known before anything runs, and this depends on %s.", v.name(), afterRun(u.refs))
		return v, false
	case a.schema.Early && u.sensitive:
		d.fault(v, "Sensitive value", "%s is printed in plans and addresses, so it may not be sensitive.", v.name())
		return v, false
	case !converted.IsWhollyKnown():
		d.res.late = true
		return v, false
	}
	return v, true
}

// constantOnly gives references in an attribute that is evaluated without any a
// diagnostic of their own.
func constantOnly(a *attr, diags hcl.Diagnostics) hcl.Diagnostics {
	if vars := a.Expr.Variables(); len(vars) > 0 {
		return hcl.Diagnostics{errorAt(vars[0].SourceRange(), "Reference not allowed here", "%s may not refer to other values: it is read before them. Functions are allowed.", a.Name)}
	}
	return diags
}

// evalConstant evaluates an attribute that may refer to nothing.
func evalConstant(a *attr, ctx *hcl.EvalContext) (cty.Value, hcl.Diagnostics) {
	v, diags := a.Expr.Value(ctx)
	if diags = constantOnly(a, diags); diags.HasErrors() {
		return v, diags
	}
	v, err := convert.Convert(v, a.schema.Type)
	if err != nil {
		return v, hcl.Diagnostics{errorAt(a.Expr.Range(), "Wrong type", "%s is a %s: %s.", a.Name, a.schema.Type.FriendlyName(), convertError(err))}
	}
	if !v.IsWhollyKnown() || v.ContainsMarked() {
		return v, hcl.Diagnostics{errorAt(a.Expr.Range(), "Value not known", "%s must be a plain value.", a.Name)}
	}
	return v, nil
}
