package bottlefile

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// unit is a node in the making.
type unit struct {
	inst   *instance
	stage  string // "" for an image, else "image", "export", "push", "pack", "machine"
	index  int    // of export and push
	block  *block // what it is written as, for its place
	decode func(d *decoder) graph.Params
	res    decoded
	node   *graph.Node
}

// compile evaluates the whole file and makes its nodes.
func (f *File) compile(ctx context.Context) hcl.Diagnostics {
	ev := newEvaluator(f, nil, nil)
	f.eval = ev
	ev.declareSecrets(f.secrets)
	for _, name := range f.localNames {
		ev.local(name)
	}
	for _, v := range f.variables {
		ev.validate(v)
	}
	for _, r := range f.registries {
		ev.declared(registrySchema.Name, r.label())
	}
	for _, b := range ev.secrets {
		ev.declared(secretSchema.Name, b.label())
	}
	f.caches = ev.declareCaches(f.cacheBlocks)
	for _, d := range f.decls {
		for _, inst := range ev.expand(d) {
			if err := ctx.Err(); err != nil {
				return append(ev.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Loading was stopped", Detail: err.Error()})
			}
			f.units = append(f.units, ev.units(inst)...)
		}
	}
	for _, u := range f.units {
		ev.diags = append(ev.diags, u.res.diags...)
	}
	for _, o := range f.outputs {
		_, diags := ev.output(o)
		ev.diags = append(ev.diags, diags...)
	}
	ev.diags = append(ev.diags, f.checkInstanceSets()...)
	ev.diags = append(ev.diags, f.link()...)
	ev.diags = append(ev.diags, f.checkTogether()...)
	for _, g := range f.groups {
		ev.diags = append(ev.diags, readGroup(g)...)
	}
	for _, g := range f.groups {
		ev.diags = append(ev.diags, f.checkGroup(g)...)
	}
	ev.settle()
	return ev.diags
}

// units makes the nodes of an instance, in the order of its stages.
func (ev *evaluator) units(inst *instance) []*unit {
	d := ev.decoder(inst.block, inst.each)
	body := ev.body(inst)
	d.b = body
	if inst.kind == imageSchema.Name {
		return []*unit{d.unit(inst, "", 0, body, (*decoder).imageParams)}
	}
	src, ok := d.source(inst)
	backend, runtime := d.backend()
	ev.diags = append(ev.diags, d.res.diags...)

	var us []*unit
	if ok && src.own {
		us = append(us, d.unit(inst, "image", 0, body, func(d *decoder) graph.Params {
			return d.ownImage(inst)
		}))
	}
	image := src.address
	for i, b := range body.blocks[exportSchema.Name] {
		us = append(us, d.unit(inst, "export", i, b, func(d *decoder) graph.Params { return d.export(image, inst) }))
	}
	for i, b := range body.blocks[pushSchema.Name] {
		us = append(us, d.unit(inst, "push", i, b, func(d *decoder) graph.Params { return d.push(image) }))
	}
	pack, machine := body.one(packSchema.Name), body.one(machineSchema.Name)
	if pack == nil {
		pack = machine
	}
	if pack != nil {
		us = append(us, d.unit(inst, "pack", 0, pack, func(d *decoder) graph.Params { return d.pack(image, backend, runtime) }))
	}
	if machine != nil {
		us = append(us, d.unit(inst, "machine", 0, machine, func(d *decoder) graph.Params { return d.machine(inst, backend, runtime) }))
	}
	ev.count(inst.decl, len(us))
	for _, u := range us {
		switch u.stage {
		case "export", "push", "pack":
			u.res.needFirst(image)
		case "machine":
			u.res.needFirst(inst.address + ".pack")
		}
	}
	if !ok { // the image is at fault, and has been reported
		for _, u := range us {
			u.res.deps = nil
		}
	}
	return us
}

func (d *decoder) imageParams() graph.Params { return d.image() }

// unit evaluates the block of a node; d is of the declaration around it.
func (d *decoder) unit(inst *instance, stage string, index int, b *block, decode func(*decoder) graph.Params) *unit {
	u := &unit{inst: inst, stage: stage, index: index, block: b, decode: decode}
	u.res = u.evaluate(d)
	address := inst.address
	switch stage {
	case "":
	case "export", "push":
		address += "." + stage + "[" + strconv.Itoa(index) + "]"
	default:
		address += "." + stage
	}
	kind := stage
	if kind == "" {
		kind = tasks.KindImage
	}
	u.node = &graph.Node{Address: address, Kind: kind, Pos: b.pos}
	u.node.Bind = u.binder(d.ev.f)
	return u
}

func (u *unit) evaluate(around *decoder) decoded {
	d := around.apart(u.block)
	params := u.decode(d)
	d.res.params = withHidden(params, d.res.hidden)
	return *d.res
}

// eachOf returns the value of each for an instance, as far as it is known by now.
func (ev *evaluator) eachOf(i *instance) cty.Value {
	if ev.base == nil || i.each == cty.NilVal || i.each.IsWhollyKnown() {
		return i.each
	}
	for _, fresh := range ev.expand(i.decl) {
		if fresh.key == i.key {
			return fresh.each
		}
	}
	return i.each
}

// binder returns the node's Bind function: what is known by now, or another
// evaluation with the outputs that it is given.
func (u *unit) binder(f *File) func(graph.Inputs) (graph.Params, error) {
	if !u.res.late {
		params := u.res.params
		return func(graph.Inputs) (graph.Params, error) { return params, nil }
	}
	return func(inputs graph.Inputs) (graph.Params, error) {
		ev := newEvaluator(f, f.eval, inputs)
		res := u.evaluate(ev.decoder(u.inst.block, ev.eachOf(u.inst)))
		if diags := append(res.diags, ev.diags...); diags.HasErrors() {
			return nil, fmt.Errorf("bind %s: %w", u.node.Address, tidy(diags))
		}
		if res.late {
			return nil, graph.ErrUnknown
		}
		return res.params, nil
	}
}

// link turns the addresses that units depend on into edges, and reports cycles.
func (f *File) link() hcl.Diagnostics {
	var diags hcl.Diagnostics
	byAddress := make(map[string]*unit, len(f.units))
	for _, u := range f.units {
		byAddress[u.node.Address] = u
	}
	for _, u := range f.units {
		for _, a := range u.res.deps {
			if dep := byAddress[a]; dep != nil {
				u.node.Deps = append(u.node.Deps, dep.node)
			} else if !f.eval.diags.HasErrors() {
				diags = append(diags, errorAt(u.block.defRange, "Missing node", "%s depends on %s, which does not exist.", u.node.Address, a))
			}
		}
	}
	return append(diags, f.checkCycles(byAddress)...)
}

// checkCycles reports each cycle among nodes, with its members in order.
func (f *File) checkCycles(byAddress map[string]*unit) hcl.Diagnostics {
	const (
		onPath = 1
		done   = 2
	)
	var diags hcl.Diagnostics
	state := make(map[*graph.Node]int, len(f.units))
	var path []*graph.Node
	var visit func(n *graph.Node)
	visit = func(n *graph.Node) {
		state[n] = onPath
		path = append(path, n)
		for _, dep := range n.Deps {
			switch state[dep] {
			case 0:
				visit(dep)
			case onPath:
				var names []string
				for _, m := range path[slices.Index(path, dep):] {
					names = append(names, m.Address)
				}
				names = append(names, dep.Address)
				diags = append(diags, errorAt(byAddress[dep.Address].block.defRange, "Cycle", "Each of these needs the next to be done before it: %s. Remove one of the references.", strings.Join(names, " → ")))
			}
		}
		path = path[:len(path)-1]
		state[n] = done
	}
	for _, u := range f.units {
		if state[u.node] == 0 {
			visit(u.node)
		}
	}
	return diags
}

// checkTogether reports what two nodes cannot both have.
func (f *File) checkTogether() hcl.Diagnostics {
	var diags hcl.Diagnostics
	machines, ports, paths := map[string]*unit{}, map[int]*unit{}, map[string]*unit{}
	for _, u := range f.units {
		switch p := u.res.params.(type) {
		case tasks.Machine:
			n := u.inst.machine
			if first := machines[n.name]; first != nil && n.ok && first.node.Address != u.node.Address {
				diags = append(diags, errorAt(n.at, "Duplicate machine name", "%s and %s are both named %q, and names are unique on a host.%s", first.node.Address, u.node.Address, n.name, useKey(first, u)))
			}
			machines[n.name] = u
			for i, port := range p.Ports {
				if port.Host == 0 {
					continue
				}
				if first := ports[port.Host]; first != nil {
					at := u.block.defRange
					if bs := u.block.blocks[portSchema.Name]; i < len(bs) && bs[i].attrs["host"] != nil {
						at = bs[i].attrs["host"].Expr.Range()
					}
					if first == u {
						diags = append(diags, errorAt(at, "Conflicting ports", "%s publishes port %d of the host twice. Give one of its ports another.", u.node.Address, port.Host))
						continue
					}
					diags = append(diags, errorAt(at, "Conflicting ports", "%s and %s both publish port %d of the host. Give one of them another.%s", first.node.Address, u.node.Address, port.Host, useKey(first, u)))
				}
				ports[port.Host] = u
			}
		case tasks.Export:
			if first := paths[p.Path]; first != nil && p.Path != "" {
				diags = append(diags, errorAt(u.block.attrs["path"].Expr.Range(), "Duplicate path", "%s and %s both write %s. Give one of them another path.%s", first.node.Address, u.node.Address, p.Path, useKey(first, u)))
			}
			paths[p.Path] = u
		}
	}
	return diags
}

// useKey is a hint for instances that differ too little.
func useKey(a, b *unit) string {
	if a.inst.decl == b.inst.decl && a.inst != b.inst {
		return " Instances of one for_each differ by each.key: use it in the value."
	}
	return ""
}
