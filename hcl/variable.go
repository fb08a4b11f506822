package bottlefile

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

var variableSchema = &BlockSchema{
	Name: "variable", Labels: []string{"name"}, Many: true,
	Doc: "A value that can be given from outside, as var.NAME.",
	Attrs: []*AttrSchema{
		{Name: "type", Static: true, TypeName: "type", Default: "any", Doc: "What a value is converted to: string, number, bool, list(…), set(…), map(…), object({…}) with optional(…) attributes, tuple([…]), any."},
		{Name: "default", Type: cty.DynamicPseudoType, Doc: "The value if none is given; without it one must be given."},
		{Name: "description", Type: cty.String, Early: true, Doc: "What the value is for."},
		{Name: "sensitive", Type: cty.Bool, Early: true, Default: "false", Doc: "Keeps the value out of everything that is printed."},
		{Name: "nullable", Type: cty.Bool, Early: true, Default: "true", Doc: "Whether the value may be null; if not, null stands for the default."},
	},
	Blocks: []*BlockSchema{{
		Name: "validation", Many: true, Doc: "A condition that the value must meet.",
		Attrs: []*AttrSchema{
			{Name: "condition", Type: cty.Bool, Required: true, Doc: "What must be true; it may use var and local."},
			{Name: "error_message", Type: cty.String, Required: true, Doc: "What to tell the user if it is not."},
		},
	}},
}

type variable struct {
	*block
	name        string
	typ         cty.Type
	defaults    *typeexpr.Defaults
	def         cty.Value // converted; NilVal without a default
	description string
	sensitive   bool
	nullable    bool
	value       cty.Value // what var.NAME is, marked if sensitive
	bad         bool      // reported already; value is unknown
}

// Variable describes a variable for listings.
type Variable struct {
	Name        string `json:"name"`
	Type        string `json:"type"` // as written
	Description string `json:"description,omitempty"`
	Default     string `json:"default,omitempty"` // as JSON; empty if sensitive or none
	Required    bool   `json:"required,omitempty"`
	Sensitive   bool   `json:"sensitive,omitempty"`
	Pos         string `json:"pos"`
}

// Variables returns the variables that the file declares, in its order.
func (f *File) Variables() []Variable {
	var vs []Variable
	for _, v := range f.variables {
		d := Variable{
			Name: v.name, Type: f.typeText(v), Description: v.description,
			Required: v.def == cty.NilVal, Sensitive: v.sensitive, Pos: place(v.defRange),
		}
		if v.def != cty.NilVal && !v.sensitive {
			if b, err := ctyjson.Marshal(v.def, v.def.Type()); err == nil {
				d.Default = string(b)
			}
		}
		vs = append(vs, d)
	}
	return vs
}

// typeText returns a type as the file has it, on one line: a cty.Type no longer
// knows the defaults of optional attributes.
func (f *File) typeText(v *variable) string {
	a := v.attrs["type"]
	if a == nil {
		return "any"
	}
	if v.sensitive && v.defaults != nil { // they are values of it
		return typeexpr.TypeString(v.typ)
	}
	r := a.Expr.Range()
	text := string(r.SliceBytes(f.sources[r.Filename].Bytes))
	return strings.Join(strings.Fields(strings.Trim(text, `"`)), " ") // JSON has it in quotes
}

func (f *File) declareVariables(blocks []*block) hcl.Diagnostics {
	var diags hcl.Diagnostics
	names := nameTable{}
	f.undeclarable = map[string]bool{}
	for _, b := range blocks {
		nd := names.add(b)
		diags = append(diags, nd...)
		if nd.HasErrors() {
			f.undeclarable[b.label()] = true
			continue
		}
		v := &variable{block: b, name: b.label(), typ: cty.DynamicPseudoType, nullable: true, def: cty.NilVal}
		diags = append(diags, f.readVariable(v)...)
		f.variables = append(f.variables, v)
	}
	diags = append(diags, f.checkGiven()...)
	return diags
}

// readVariable evaluates a declaration and decides on the variable's value.
func (f *File) readVariable(v *variable) hcl.Diagnostics {
	var diags hcl.Diagnostics
	fail := func(d ...*hcl.Diagnostic) {
		diags = append(diags, d...)
		v.bad = true
	}
	ctx := f.functionsOnly()
	flag := func(name string, into *bool) {
		if a := v.attrs[name]; a != nil {
			val, d := evalConstant(a, ctx)
			fail(d...)
			if !d.HasErrors() && !val.IsNull() {
				*into = val.True()
			}
		}
	}
	flag("sensitive", &v.sensitive)
	flag("nullable", &v.nullable)
	if a := v.attrs["description"]; a != nil {
		val, d := evalConstant(a, ctx)
		fail(d...)
		if !d.HasErrors() && !val.IsNull() {
			v.description = val.AsString()
		}
	}
	if a := v.attrs["type"]; a != nil {
		ty, defaults, d := typeexpr.TypeConstraintWithDefaults(a.Expr)
		explainType(d)
		fail(d...)
		if !d.HasErrors() {
			v.typ, v.defaults = ty, defaults
		}
	}
	v.bad = diags.HasErrors()
	if a := v.attrs["default"]; a != nil && !v.bad {
		val, d := a.Expr.Value(ctx)
		if d = constantOnly(a, d); d.HasErrors() {
			fail(v.conceal(d)...)
		} else if val, d := v.convert(val, v.place(a), "The default of"); d != nil {
			fail(d)
		} else if why := tooLarge(val); why != "" {
			fail(errorAt(v.place(a), "Value too large", "The default of the variable %q %s.", v.name, why))
		} else {
			v.def = val
		}
	}
	if !v.bad {
		if d := f.giveVariable(v); d != nil {
			fail(d...)
		}
	}
	v.bad = diags.HasErrors()
	switch {
	case v.bad:
		v.value = cty.UnknownVal(v.typ)
	case v.sensitive:
		v.value = markSensitive(v.value)
	}
	return diags
}

// place is where faults of the default are shown: never in a line that shows a
// sensitive one.
func (v *variable) place(a *attr) hcl.Range {
	if v.sensitive {
		return v.defRange
	}
	return a.Expr.Range()
}

// conceal moves diagnostics about a sensitive default to where its source does
// not show, and drops what they say of its value.
func (v *variable) conceal(diags hcl.Diagnostics) hcl.Diagnostics {
	if !v.sensitive {
		return diags
	}
	return hcl.Diagnostics{errorAt(v.defRange, "Invalid default", "The default of the sensitive variable %q cannot be evaluated. The reason is not shown, since it could show the value.", v.name)}
}

// convert makes a value of the variable's type.
func (v *variable) convert(val cty.Value, at hcl.Range, what string) (cty.Value, *hcl.Diagnostic) {
	if v.defaults != nil && !val.IsNull() {
		val = v.defaults.Apply(val)
	}
	val, err := convertTo(val, v.typ)
	if err != nil {
		return val, errorAt(at, "Wrong type", "%s the variable %q does not have its type: %s.", what, v.name, convertError(err))
	}
	if val.IsNull() && !v.nullable {
		return val, errorAt(at, "Null value", "%s the variable %q is null, which nullable = false excludes.", what, v.name)
	}
	return val, nil
}

// giveVariable sets the value from what was given, or else from the default.
func (f *File) giveVariable(v *variable) hcl.Diagnostics {
	g, ok := f.given[v.name]
	if !ok {
		if v.def == cty.NilVal {
			d := errorAt(v.defRange, missingValue, "The variable %q has no default, and no value is given for it. Give one with --var %s=…, or in the environment as BOTTLE_VAR_%s.", v.name, v.name, v.name)
			return hcl.Diagnostics{d}
		}
		v.value = v.def
		return nil
	}
	var val cty.Value
	var diags hcl.Diagnostics
	at := v.defRange
	if g.expr == nil {
		val, diags = f.parseGiven(v, g)
	} else {
		val, diags = f.fromFile(v, g)
		if !v.sensitive {
			at = g.expr.Expr.Range()
		}
	}
	if diags.HasErrors() {
		return diags
	}
	if val.IsNull() && !v.nullable && v.def != cty.NilVal {
		v.value = v.def
		return nil
	}
	val, d := v.convert(val, at, "The value that "+g.origin+" gives for")
	if d != nil {
		return hcl.Diagnostics{d}
	}
	if why := tooLarge(val); why != "" {
		return hcl.Diagnostics{errorAt(at, "Value too large", "The value that %s gives for the variable %q %s.", g.origin, v.name, why)}
	}
	v.value = val
	return nil
}

// parseGiven reads the text of a given value: as it is for a string, and as an
// HCL expression without references for every other type. A variable without a
// type takes after its default.
func (f *File) parseGiven(v *variable, g given) (cty.Value, hcl.Diagnostics) {
	ty := v.typ
	if ty == cty.DynamicPseudoType && v.def != cty.NilVal {
		ty = v.def.Type()
	}
	if ty == cty.String || ty == cty.DynamicPseudoType {
		return cty.StringVal(g.text), nil
	}
	if ty.IsPrimitiveType() {
		val, err := convertTo(cty.StringVal(strings.TrimSpace(g.text)), ty)
		if err != nil {
			return val, hcl.Diagnostics{errorAt(v.defRange, "Wrong type", "The value that %s gives for the variable %q is not a %s: %s.", g.origin, v.name, ty.FriendlyName(), convertError(err))}
		}
		return val, nil
	}
	name := fmt.Sprintf("<%s for variable %s>", g.origin, v.name)
	diags := checkBounds([]byte(g.text), name, hclsyntax.LexExpression)
	var expr hclsyntax.Expression
	if !diags.HasErrors() {
		expr, diags = hclsyntax.ParseExpression([]byte(g.text), name, hcl.InitialPos)
	}
	var val cty.Value
	if !diags.HasErrors() {
		_ = boundIn(expr)
		val, diags = expr.Value(f.countingOnly())
		for _, d := range diags {
			if !explainIterations(d) && d.Summary == "Variables not allowed" {
				d.Detail = fmt.Sprintf("The value is an expression of type %s, in which a text stands in quotes; it may not refer to others.", typeexpr.TypeString(ty))
			}
		}
	}
	if !diags.HasErrors() {
		return val, nil
	}
	if v.sensitive {
		return val, hcl.Diagnostics{errorAt(v.defRange, "Invalid value for variable", "The value that %s gives for the sensitive variable %q is not a valid expression of type %s.", g.origin, v.name, typeexpr.TypeString(ty))}
	}
	f.sources[name] = &hcl.File{Bytes: []byte(g.text)}
	return val, diags
}

// validate checks the conditions of a variable's validation blocks.
func (ev *evaluator) validate(v *variable) {
	for _, b := range v.blocks["validation"] {
		if v.bad || b.attrs["condition"] == nil || b.attrs["error_message"] == nil {
			continue
		}
		d := ev.decoder(b, cty.NilVal)
		ok, condition := d.boolean("condition", true)
		message, known := d.text("error_message")
		ev.diags = append(ev.diags, d.res.diags...)
		switch {
		case d.res.diags.HasErrors():
		case d.res.late:
			ev.report(errorAt(b.defRange, "Condition not known", "A validation may not depend on what is known only after something has run."))
		case condition.attr != nil && !ok:
			text := message.AsString
			detail := "The value does not meet its condition; the message is not shown, since it is sensitive."
			if known && !message.sensitive {
				detail = text()
			}
			if g, isGiven := ev.f.given[v.name]; isGiven {
				detail += fmt.Sprintf(" The value is from %s.", g.origin)
			}
			diag := errorAt(condition.attr.Expr.Range(), "Invalid value for variable", "%s", detail)
			diag.Summary = fmt.Sprintf("Invalid value for variable %q", v.name)
			ev.report(diag)
		}
	}
}
