package bottlefile

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/graph"
)

// evaluator finds values on demand and keeps them. The first one compiles the
// file, with every run-time output unknown. Later ones evaluate again with some
// outputs, and take from the first what needed none. One evaluator serves one
// goroutine.
type evaluator struct {
	f         *File
	base      *evaluator // nil while compiling
	inputs    graph.Inputs
	ran       map[string]bool // addresses of instances with an output among inputs
	locals    map[string]cty.Value
	blocks    map[string]cty.Value // what image.NAME, bottle.NAME and registry.NAME are
	settled   map[string]bool      // which of these, and of for_each, need no outputs; set by settle
	instances map[*decl][]*instance
	faulty    map[*decl]bool                 // whose for_each has no value
	objects   map[*decl]map[string]cty.Value // by key of for_each
	scopes    map[*block]*scope
	fixed     map[*attr]*fixed
	functions *hcl.EvalContext
	total     int      // instances and stages so far
	stack     []string // what is being evaluated, outermost first
	secrets   []*block // of the first evaluator only
	diags     hcl.Diagnostics
}

func newEvaluator(f *File, base *evaluator, inputs graph.Inputs) *evaluator {
	ran := make(map[string]bool, 2*len(inputs))
	for address := range inputs {
		ran[address] = true
		ran[address[:max(0, strings.LastIndexByte(address, '.'))]] = true // of a stage
	}
	return &evaluator{
		f: f, base: base, inputs: inputs, ran: ran,
		locals: map[string]cty.Value{}, blocks: map[string]cty.Value{},
		instances: map[*decl][]*instance{}, faulty: map[*decl]bool{}, objects: map[*decl]map[string]cty.Value{}, scopes: map[*block]*scope{}, fixed: map[*attr]*fixed{},
		functions: f.functionsOnly(),
	}
}

// settle notes which values later evaluators can take as they are.
func (ev *evaluator) settle() {
	ev.settled = map[string]bool{}
	for name, v := range ev.locals {
		ev.settled["local."+name] = v.IsWhollyKnown()
	}
	for id, v := range ev.blocks {
		ev.settled[id] = v.IsWhollyKnown()
	}
	for d, is := range ev.instances {
		ev.settled[d.address()+" (for_each)"] = !slices.ContainsFunc(is, func(i *instance) bool {
			return i.each != cty.NilVal && !i.each.IsWhollyKnown()
		})
	}
}

func (ev *evaluator) report(d *hcl.Diagnostic) { ev.diags = append(ev.diags, d) }

// maxChain bounds how many values may need each other in a row: each takes
// several frames of the stack.
const maxChain = 1000

// enter notes that name is being evaluated. It reports a cycle and returns false
// if it is already. The caller calls leave if it returned true.
func (ev *evaluator) enter(name string, at hcl.Range) bool {
	if i := slices.Index(ev.stack, name); i >= 0 {
		ev.report(errorAt(at, "Cycle", "These values need each other: %s. Break the circle by writing one of them without the others.", strings.Join(append(slices.Clone(ev.stack[i:]), name), " → ")))
		return false
	}
	if len(ev.stack) >= maxChain {
		ev.report(errorAt(at, "Chain of references too long", "At most %d values may need each other in a row.", maxChain))
		return false
	}
	ev.stack = append(ev.stack, name)
	return true
}

func (ev *evaluator) leave() { ev.stack = ev.stack[:len(ev.stack)-1] }

// local returns local.NAME; the name is declared.
func (ev *evaluator) local(name string) cty.Value {
	if v, ok := ev.locals[name]; ok {
		return v
	}
	if ev.base != nil && ev.base.settled["local."+name] {
		return ev.base.locals[name]
	}
	a := ev.f.locals[name]
	if !ev.enter("local."+name, a.NameRange) {
		return poisoned
	}
	defer ev.leave()
	s := ev.scopeOf([]*attr{a}, false)
	v := poisoned
	if !s.bad[a.Expr] {
		var diags hcl.Diagnostics
		v, diags = evalIn(a.Expr, s.ctx)
		ev.diags = append(ev.diags, diags...)
		if diags.HasErrors() {
			v = poisoned
		} else if why := tooLarge(v); why != "" {
			ev.report(errorAt(a.Expr.Range(), "Value too large", "local.%s %s.", name, why))
			v = poisoned
		}
	}
	ev.locals[name] = v
	return v
}

// declared returns what image.NAME, bottle.NAME, registry.NAME or secret.NAME is, and whether
// there is one.
func (ev *evaluator) declared(kind, name string) (cty.Value, bool) {
	id := kind + "." + name
	if v, ok := ev.blocks[id]; ok {
		return v, true
	}
	if ev.base != nil && ev.base.settled[id] {
		return ev.base.blocks[id], true
	}
	var v cty.Value
	switch kind {
	case registrySchema.Name:
		r := ev.f.registry(name)
		if r == nil {
			return v, false
		}
		if !ev.enter(id, r.defRange) {
			return poisoned, true
		}
		v = ev.registryValue(r)
	case secretSchema.Name:
		b := ev.secret(name)
		if b == nil {
			return v, false
		}
		if !ev.enter(id, b.defRange) {
			return poisoned, true
		}
		v = ev.secretValue(b)
	default:
		d := ev.f.decl(kind, name)
		if d == nil {
			return v, false
		}
		if !ev.enter(id, d.defRange) {
			return poisoned, true
		}
		v = ev.declValue(d)
	}
	ev.leave()
	ev.blocks[id] = v
	return v, true
}

func (f *File) registry(name string) *registry {
	for _, r := range f.registries {
		if r.label() == name {
			return r
		}
	}
	return nil
}

func (f *File) decl(kind, name string) *decl {
	for _, d := range f.decls {
		if d.kind == kind && d.name == name {
			return d
		}
	}
	return nil
}

// scope is what the expressions of a block can refer to.
type scope struct {
	ctx *hcl.EvalContext
	bad map[hcl.Expression]bool // refer to what is not there; reported
}

// scopeFor returns the scope of all expressions of b and of the blocks in it.
func (ev *evaluator) scopeFor(b *block, each bool) *scope {
	if s := ev.scopes[b]; s != nil {
		return s
	}
	s := ev.scopeOf(expressions(b, nil), each)
	ev.scopes[b] = s
	return s
}

func expressions(b *block, attrs []*attr) []*attr {
	if b.gen != nil {
		attrs = append(attrs, b.gen.forEach)
	}
	for _, a := range b.order {
		if !a.schema.Static && a.schema != forEachAttr {
			attrs = append(attrs, a)
		}
	}
	for _, s := range b.schema.Blocks {
		for _, n := range b.blocks[s.Name] {
			attrs = expressions(n, attrs)
		}
	}
	return attrs
}

// scopeOf finds the values that the expressions refer to, and reports references
// to what is not declared.
func (ev *evaluator) scopeOf(attrs []*attr, each bool) *scope {
	s := &scope{ctx: ev.functions.NewChild(), bad: map[hcl.Expression]bool{}}
	roots := map[string]map[string]cty.Value{}
	for _, a := range attrs {
		e := a.Expr
		for _, t := range e.Variables() {
			if t.RootName() == "each" && each || len(a.iterators) > 0 && slices.Contains(a.iterators, t.RootName()) {
				continue
			}
			root, name, d := ev.f.resolve(t)
			if d != nil {
				ev.report(d)
				s.bad[e] = true
				continue
			}
			if roots[root] == nil {
				roots[root] = map[string]cty.Value{}
			}
			if _, ok := roots[root][name]; ok {
				continue
			}
			v, d := ev.lookup(root, name, t)
			if d != nil {
				ev.report(d)
				s.bad[e] = true
				continue
			}
			roots[root][name] = v
		}
	}
	s.ctx.Variables = map[string]cty.Value{}
	for root, values := range roots {
		s.ctx.Variables[root] = cty.ObjectVal(values)
	}
	return s
}

// lookup returns the value of ROOT.NAME, or a diagnostic if it is not declared.
func (ev *evaluator) lookup(root, name string, t hcl.Traversal) (cty.Value, *hcl.Diagnostic) {
	switch root {
	case "var":
		if v := ev.f.variable(name); v != nil {
			if v.bad {
				return poisoned, nil
			}
			return v.value, nil
		}
	case "local":
		if ev.f.locals[name] != nil {
			return ev.local(name), nil
		}
	default:
		if v, ok := ev.declared(root, name); ok {
			return v, nil
		}
	}
	return cty.NilVal, ev.f.undeclared(root, name, t)
}

func (f *File) variable(name string) *variable {
	for _, v := range f.variables {
		if v.name == name {
			return v
		}
	}
	return nil
}

// names returns what is declared under a root.
func (f *File) names(root string) []string {
	var names []string
	switch root {
	case "var":
		for _, v := range f.variables {
			names = append(names, v.name)
		}
	case "local":
		return f.localNames
	case "registry":
		for _, r := range f.registries {
			names = append(names, r.label())
		}
	case "secret":
		if f.eval != nil {
			for _, b := range f.eval.secrets {
				names = append(names, b.label())
			}
		}
	default:
		for _, d := range f.decls {
			if d.kind == root {
				names = append(names, d.name)
			}
		}
	}
	return names
}
