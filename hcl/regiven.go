package bottlefile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty/function"
)

// Regiven is a variable to which an environment gives another value than the one
// that the file was loaded with.
type Regiven struct {
	Name      string
	Origin    string // of the other value
	Sensitive bool   // no value is shown
	// Was and Is are the values on a line of HCL; Is is empty if what is given is
	// no value of the variable.
	Was, Is string
}

// Regiven returns the variables that would have another value if the file were
// loaded with this environment, in the file's order. A value that gives way to one of
// a file of variables or of the command line makes no difference.
func (f *File) Regiven(env map[string]Var) []Regiven {
	count := &iterations{limit: maxIterations}
	trial := &File{
		sources: map[string]*hcl.File{}, functions: map[string]function.Function{iterateName: count.function()},
	}
	var all []Regiven
	for _, v := range f.variables {
		e, ok := env[v.name]
		if _, beaten := f.opts.Vars[v.name]; !ok || beaten || f.given[v.name].expr != nil {
			continue
		}
		again := *v
		trial.given = map[string]given{v.name: {origin: e.Origin, text: e.Value}}
		diags := trial.giveVariable(&again)
		was, _ := v.value.Unmark()
		if !diags.HasErrors() && again.value.RawEquals(was) {
			continue
		}
		r := Regiven{Name: v.name, Origin: e.Origin, Sensitive: v.sensitive}
		if !v.sensitive {
			r.Was = displayed(was, true)
			if !diags.HasErrors() {
				r.Is = displayed(again.value, true)
			}
		}
		all = append(all, r)
	}
	return all
}
