package main

import (
	"fmt"
	"slices"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
)

// givenValues are values of variables. Those of sensitive ones are left out.
type givenValues struct {
	Values    map[string]string `json:"values,omitempty"`
	Sensitive []string          `json:"sensitive,omitempty"` // names, in order
}

func concealed(vars map[string]bottlefile.Var, sensitive map[string]bool) givenValues {
	g := givenValues{Values: map[string]string{}}
	for name, v := range vars {
		if sensitive[name] {
			g.Sensitive = append(g.Sensitive, name)
		} else {
			g.Values[name] = v.Value
		}
	}
	slices.Sort(g.Sensitive)
	return g
}

// restore gives variables the values that they had when the plan was made, and
// sensitive ones those that are given now.
func (p *savedPlan) restore(o *bottlefile.Options) error {
	var err error
	if o.Env, err = p.restored(p.Env); err == nil {
		o.Vars, err = p.restored(p.Vars)
	}
	return err
}

func (p *savedPlan) restored(g givenValues) (map[string]bottlefile.Var, error) {
	vars := map[string]bottlefile.Var{}
	for name, value := range g.Values {
		vars[name] = bottlefile.Var{Value: value, Origin: "the saved plan"}
	}
	for _, name := range g.Sensitive {
		v, ok := p.nowVars[name]
		if !ok {
			v, ok = p.nowEnv[name]
		}
		if !ok {
			return nil, usageError("the variable %s is sensitive, so its value is not in the saved plan: give it again with --var %s=VALUE or %s%s", name, name, varPrefix, name)
		}
		vars[name] = v
	}
	return vars, nil
}

// changedVars names the variables to which the environment gives another value by
// now: who has set one since would not want the plan's to be used in silence.
func (p *savedPlan) changedVars(file *bottlefile.File) []string {
	var changes []string
	for _, v := range file.Regiven(p.nowEnv) {
		if _, given := p.nowVars[v.Name]; given {
			continue // the sensitive value that counts is that of --var
		}
		text := fmt.Sprintf("variable %s: %s gives it another value", v.Name, v.Origin)
		switch short := 60; {
		case v.Sensitive, len(v.Was)+len(v.Is) > short:
		case v.Is == "":
			text = fmt.Sprintf("variable %s: %s gives it what is no value of its type", v.Name, v.Origin)
		default:
			text += fmt.Sprintf(" (%s -> %s)", v.Was, v.Is)
		}
		changes = append(changes, text+"; to use the plan's, unset "+v.Origin)
	}
	return changes
}

// sensitiveAdvice is what to do where a sensitive value that was given again turns
// out not to be the one that the plan was made with; empty if none does.
func (p *savedPlan) sensitiveAdvice(deviations []graph.Deviation) string {
	hidden := slices.ContainsFunc(deviations, func(d graph.Deviation) bool {
		return slices.ContainsFunc(d.Reasons, func(r graph.Reason) bool { return r.Before == cache.Concealed || r.After == cache.Concealed })
	})
	names := slices.Concat(p.Env.Sensitive, p.Vars.Sensitive)
	if !hidden || len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return fmt.Sprintf("\nIf it was made with another value of what is sensitive (%s), give that one", strings.Join(slices.Compact(names), ", "))
}
