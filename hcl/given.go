package bottlefile

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
)

// given is the value that a variable is given from outside.
type given struct {
	origin string
	text   string         // of the environment or the command line
	expr   *hcl.Attribute // of a file of variables, in place of text
	json   bool           // expr is JSON, in which strings are no templates
}

// collectGiven finds the value that counts for each variable: the environment's
// gives way to those of files of variables, of which later ones beat earlier
// ones, and these give way to the command line's.
func (f *File) collectGiven() hcl.Diagnostics {
	f.given = map[string]given{}
	for name, v := range f.opts.Env {
		f.given[name] = given{origin: v.Origin, text: v.Value}
	}
	var diags hcl.Diagnostics
	for _, s := range f.opts.VarFiles {
		body, d := f.parseSource(s)
		diags = append(diags, d...)
		if d.HasErrors() {
			continue
		}
		attrs, d := body.JustAttributes()
		diags = append(diags, d...)
		for _, a := range attrs {
			f.given[a.Name] = given{origin: s.Path, expr: a, json: s.isJSON()}
		}
	}
	for name, v := range f.opts.Vars {
		f.given[name] = given{origin: v.Origin, text: v.Value}
	}
	return diags
}

// hideVarFiles keeps diagnostics from showing lines of files of variables, if a
// variable is sensitive: its value can stand in any of them.
func (f *File) hideVarFiles() {
	for _, v := range f.variables {
		if !v.sensitive {
			continue
		}
		for _, s := range f.opts.VarFiles {
			f.sources[s.Path] = &hcl.File{}
		}
	}
}

// checkGiven reports values for variables that are not declared.
func (f *File) checkGiven() hcl.Diagnostics {
	var diags hcl.Diagnostics
	for _, name := range sortedKeys(f.given) {
		if f.variable(name) != nil || f.undeclarable[name] {
			continue
		}
		g := f.given[name]
		d := &hcl.Diagnostic{
			Severity: hcl.DiagError, Summary: "Unknown variable",
			Detail: fmt.Sprintf("%s gives a value for the variable %q, which the bottle file does not declare.%s", g.origin, name, didYouMean(name, f.names("var"))),
		}
		if g.expr != nil {
			d.Subject = g.expr.NameRange.Ptr()
		}
		diags = append(diags, d)
	}
	return diags
}

// countingOnly returns a context in which given values are evaluated: it has no
// values and no functions but the one that counts what for expressions go over.
func (f *File) countingOnly() *hcl.EvalContext {
	return &hcl.EvalContext{Functions: map[string]function.Function{iterateName: f.functions[iterateName]}}
}

// fromFile evaluates the value that a file of variables has for v. Faults of a
// sensitive one are shown where v is declared.
func (f *File) fromFile(v *variable, g given) (cty.Value, hcl.Diagnostics) {
	at := g.expr.Expr.Range()
	var val cty.Value
	var diags hcl.Diagnostics
	switch refs := g.expr.Expr.Variables(); {
	case g.json:
		val, diags = g.expr.Expr.Value(nil)
	case len(refs) > 0:
		diags = hcl.Diagnostics{errorAt(at, "Reference not allowed here", "A file of variables has plain values; they may not refer to others. A text is written in quotes.")}
	default:
		val, diags = g.expr.Expr.Value(f.countingOnly())
		for _, d := range diags {
			explainIterations(d)
		}
	}
	if diags.HasErrors() && v.sensitive {
		return val, hcl.Diagnostics{errorAt(v.defRange, "Invalid value for variable", "The value that %s gives for the sensitive variable %q is not a valid expression of type %s.", g.origin, v.name, typeexpr.TypeString(v.typ))}
	}
	return val, diags
}
