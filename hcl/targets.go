package bottlefile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"bottlebuild/graph"
	"bottlebuild/internal/lazyregexp"
)

// Target is something that can be asked for by name.
type Target struct {
	Address string `json:"address"` // "image.base", `bottle.agent["claude"]`, "group.default"
	Kind    string `json:"kind"`    // "image", "bottle", "group"
	Pos     string `json:"pos"`
}

// Targets returns the images, the bottles and the groups, in the order of the file.
func (f *File) Targets() []Target {
	if !f.valid {
		return nil
	}
	var ts []Target
	for _, d := range f.decls {
		for _, i := range f.eval.instances[d] {
			ts = append(ts, Target{i.address, d.kind, place(d.defRange)})
		}
	}
	for _, g := range f.groups {
		ts = append(ts, Target{"group." + g.label(), groupSchema.Name, place(g.defRange)})
	}
	return ts
}

// Nodes returns the nodes of the targets and all that they depend on, each after
// its dependencies and otherwise in the order of the file. Without targets it
// returns those of the group "default", or else all. It returns none if the
// file has errors.
//
// A target is an address ("image.base", "bottle.agent", `bottle.agent["claude"]`,
// "bottle.agent.machine", "bottle.agent[claude].push[0]"), a group, the bare name
// of a group, bottle or image, or an address with * and ?, of which * matches
// everything. Quotes around keys may be left out.
func (f *File) Nodes(targets []string) ([]*graph.Node, hcl.Diagnostics) {
	if !f.valid {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Bottle file has errors", Detail: "No nodes can be made of a file with errors."}}
	}
	if len(targets) == 0 {
		if f.group("default") == nil {
			return order(f.units, f.units), nil
		}
		targets = []string{"group.default"}
	}
	var diags hcl.Diagnostics
	var selected []*unit
	for _, t := range targets {
		us, ok := f.find(t, map[*group]bool{})
		if !ok {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown target", Detail: f.unknownTarget(t)})
		}
		selected = append(selected, us...)
	}
	if diags.HasErrors() {
		return nil, diags
	}
	return order(f.units, selected), nil
}

// Matching returns the nodes of the targets, as of [File.Nodes], without what
// they depend on.
func (f *File) Matching(targets []string) ([]*graph.Node, hcl.Diagnostics) {
	var diags hcl.Diagnostics
	var nodes []*graph.Node
	for _, t := range targets {
		us, ok := f.find(t, map[*group]bool{})
		if !ok {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown target", Detail: f.unknownTarget(t)})
		}
		for _, u := range us {
			nodes = append(nodes, u.node)
		}
	}
	return nodes, diags
}

// AllNodes returns the nodes of everything that the file declares.
func (f *File) AllNodes() []*graph.Node { return order(f.units, f.units) }

// order returns the selected nodes and their dependencies, dependencies first.
func order(all, selected []*unit) []*graph.Node {
	want := make(map[*graph.Node]bool, len(selected))
	for _, u := range selected {
		want[u.node] = true
	}
	nodes := make([]*graph.Node, 0, len(selected))
	seen := make(map[*graph.Node]bool, len(selected))
	var visit func(n *graph.Node)
	visit = func(n *graph.Node) {
		if seen[n] {
			return
		}
		seen[n] = true
		for _, d := range n.Deps {
			visit(d)
		}
		nodes = append(nodes, n)
	}
	for _, u := range all {
		if want[u.node] {
			visit(u.node)
		}
	}
	return nodes
}

func (f *File) group(name string) *group {
	for _, g := range f.groups {
		if g.label() == name {
			return g
		}
	}
	return nil
}

// checkGroup reports targets of a group that are not there, and a group of nothing
// but groups that have each other. Others may: they have the targets of both.
func (f *File) checkGroup(g *group) hcl.Diagnostics {
	var diags hcl.Diagnostics
	if len(g.targets) > 0 && !f.namesMore(g, map[*group]bool{}) {
		diags = append(diags, errorAt(g.targets[0].at, "Group of nothing", "No image and no bottle is in the group %q, or in the groups that it has. Name one.", g.label()))
	}
	for _, t := range g.targets {
		if _, ok := f.find(t.text, map[*group]bool{g: true}); !ok && !f.unexpanded(t.text) {
			diags = append(diags, errorAt(t.at, "Unknown target", "%s", f.unknownTarget(t.text)))
		}
	}
	return diags
}

// namesMore tells whether a group, or one that is in it, has a target that is no
// group.
func (f *File) namesMore(g *group, seen map[*group]bool) bool {
	seen[g] = true
	for _, t := range g.targets {
		if inner := f.groupOf(unquoted(t.text)); inner == nil || len(inner.targets) == 0 || !seen[inner] && f.namesMore(inner, seen) {
			return true
		}
	}
	return false
}

// unexpanded reports whether a target may be of a declaration without nodes,
// because of an error that has been reported.
func (f *File) unexpanded(target string) bool {
	return f.eval.diags.HasErrors() && slices.ContainsFunc(f.decls, func(d *decl) bool {
		return strings.HasPrefix(target, d.address()) && !slices.ContainsFunc(f.units, func(u *unit) bool { return u.inst.decl == d })
	})
}

// find returns the units of a target, and whether it names anything. A
// declaration without instances is something, though without units.
func (f *File) find(target string, inside map[*group]bool) ([]*unit, bool) {
	name := unquoted(target)
	if g := f.groupOf(name); g != nil {
		if inside[g] {
			return nil, true
		}
		inside[g] = true
		var us []*unit
		for _, t := range g.targets {
			found, ok := f.find(t.text, inside)
			if !ok {
				return nil, false
			}
			us = append(us, found...)
		}
		return us, true
	}
	for _, candidate := range []string{name, bottleSchema.Name + "." + name, imageSchema.Name + "." + name} {
		if us, ok := f.match(candidate); ok {
			return us, true
		}
	}
	return nil, false
}

func (f *File) groupOf(name string) *group {
	return f.group(strings.TrimPrefix(name, groupSchema.Name+"."))
}

// match returns the units whose address is the pattern, or lies below it. The
// pattern may leave out the key of an instance and the index of a stage.
func (f *File) match(pattern string) ([]*unit, bool) {
	matches := func(s string) bool { return s == pattern }
	glob := strings.ContainsAny(pattern, "*?")
	if glob {
		quoted := regexp.QuoteMeta(pattern)
		re := regexp.MustCompile(`^(?s:` + strings.NewReplacer(`\*`, ".*", `\?`, ".").Replace(quoted) + `)$`)
		matches = re.MatchString
	}
	var us []*unit
	whole := map[*decl]bool{}
	for _, d := range f.decls {
		whole[d] = matches(d.address())
	}
	found := slices.ContainsFunc(f.decls, func(d *decl) bool { return whole[d] })
	for _, u := range f.units {
		d := u.inst.decl
		if whole[d] || (glob || strings.HasPrefix(pattern, d.address())) && slices.ContainsFunc(u.names(), matches) {
			us = append(us, u)
			found = true
		}
	}
	// A bottle without stages still has its image.
	for _, d := range f.decls {
		if d.kind == bottleSchema.Name && len(us) == 0 && found && matches(d.address()) {
			us = append(us, f.imagesOf(d)...)
		}
	}
	return us, found
}

// imagesOf returns the image nodes that a bottle names.
func (f *File) imagesOf(d *decl) []*unit {
	var us []*unit
	for _, i := range f.eval.instances[d] {
		src, ok := f.eval.decoder(i.block, i.each).source(i)
		for _, u := range f.units {
			if ok && u.node.Address == src.address {
				us = append(us, u)
			}
		}
	}
	return us
}

// names are what a unit can be asked for by: its address and every prefix of it
// that names something, without quotes.
func (u *unit) names() []string {
	d := u.inst.decl
	names := []string{d.address()}
	instances := []string{d.address()}
	if d.forEach != nil {
		keyed := fmt.Sprintf("%s[%s]", d.address(), u.inst.key)
		instances = append(instances, keyed)
		names = append(names, keyed)
	}
	if u.stage == "" {
		return names
	}
	for _, i := range instances {
		names = append(names, i+"."+u.stage)
		if u.stage == exportSchema.Name || u.stage == pushSchema.Name {
			names = append(names, fmt.Sprintf("%s.%s[%d]", i, u.stage, u.index))
		}
	}
	return names
}

var keyRE = lazyregexp.New(`\["((?:[^"\\]|\\.)*)"\]|\['([^']*)'\]`)

// unquoted removes the quotes around keys.
func unquoted(target string) string {
	return keyRE.ReplaceAllStringFunc(strings.TrimSpace(target), func(s string) string {
		inner := s[2 : len(s)-2]
		return "[" + strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(inner) + "]"
	})
}

// unknownTarget says what is known instead.
func (f *File) unknownTarget(target string) string {
	options := map[string]bool{}
	name := unquoted(target)
	for _, u := range f.units {
		for _, n := range u.names() {
			if strings.Count(n, ".") <= max(1, strings.Count(name, ".")) {
				options[n] = true
				options[strings.TrimPrefix(n, u.inst.kind+".")] = true
			}
		}
	}
	for _, d := range f.decls {
		options[d.address()] = true
		options[d.name] = true
	}
	for _, g := range f.groups {
		options["group."+g.label()] = true
		options[g.label()] = true
	}
	if strings.ContainsAny(target, "*?") {
		return fmt.Sprintf("Nothing matches the pattern %q.", target)
	}
	if m := suggest(name, sortedKeys(options)); m != "" {
		return fmt.Sprintf("There is no target %q. Did you mean %q?", target, m)
	}
	var known []string
	for _, t := range f.decls {
		known = append(known, t.address())
	}
	for _, g := range f.groups {
		known = append(known, groupSchema.Name+"."+g.label())
	}
	return fmt.Sprintf("There is no target %q.%s", target, didYouMean("", known))
}
