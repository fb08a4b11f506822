package importer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	bottlefile "bottlebuild/hcl"
)

// bake is a bake file on its way to a bottle file.
type bake struct {
	*translator
	*file
	base                                       string // the file's name, for places
	noLines                                    bool   // it was JSON: places have no lines
	names, registries, secretNames, localNames names
	targets                                    map[string]*target
	order                                      []*target
	groups                                     []*hclsyntax.Block
	secrets                                    map[string]string // expression of a secret's name here, by its definition
	hosts                                      map[string]string // name of a registry here, by its host and path
}

// target is one of bake's targets.
type target struct {
	*hclsyntax.Block
	name   string // bake's
	here   string // the image's
	parent bool   // others inherit it
	wanted bool   // a group, a context or nothing but itself asks for it
	bottle string // the bottle that pushes or exports it, if any
	// instances are the names that its matrix makes, as far as they can be told,
	// and the keys of the image's for_each.
	instances []string
	forEach   string // the local that has its matrix
}

// Bake translates a file of docker buildx bake: HCL, or JSON if the name ends in
// .json or the source starts with a brace. It returns diagnostics, with a file
// for [bottlefile.WriteDiagnostics], if the source cannot be read.
func Bake(path string, src []byte) (Result, *bottlefile.File, bottlefile.Diagnostics) {
	json := isJSON(path, src)
	if json {
		var err error
		if src, err = bakeJSON(src); err != nil {
			return Result{}, nil, bottlefile.Diagnostics{{Severity: hcl.DiagError, Summary: "Invalid JSON", Detail: fmt.Sprintf("%s: %s.", path, err)}}
		}
	}
	// Format also checks what the parser could not survive.
	src, shown, diags := bottlefile.Format(path, src)
	if diags.HasErrors() {
		return Result{}, shown, diags
	}
	parsed, diags := hclsyntax.ParseConfig(src, path, hcl.InitialPos)
	body, ok := parsed.Body.(*hclsyntax.Body)
	if !ok || diags.HasErrors() {
		return Result{}, shown, diags
	}
	b := &bake{
		translator: &translator{src: src, filename: path, roots: map[string]string{}, functions: map[string]*function{}},
		file:       &file{}, base: filepath.Base(path), noLines: json,
		targets: map[string]*target{}, secrets: map[string]string{}, hosts: map[string]string{},
	}
	b.head = []string{
		"Made from " + b.base + " by: bottlebuild init --from " + b.base,
		"What could not be carried over stands in comments. Check it with: bottlebuild validate",
	}
	b.declare(body)
	b.variables(body)
	b.selectTargets()
	for _, t := range b.order {
		if t.wanted {
			b.image(t)
		}
	}
	for _, g := range b.groups {
		b.group(g)
	}
	return b.result(), shown, nil
}

func (b *bake) place(r hcl.Range) string {
	if b.noLines {
		return b.base
	}
	return fmt.Sprintf("%s:%d", b.base, r.Start.Line)
}

// declare gives everything its name.
func (b *bake) declare(body *hclsyntax.Body) {
	for _, a := range sortedAttributes(body) {
		b.roots[a.Name] = "local." + a.Name
	}
	for _, blk := range body.Blocks {
		label := ""
		if len(blk.Labels) > 0 {
			label = blk.Labels[0]
		}
		switch blk.Type {
		case "variable":
			b.roots[label] = "var." + label
			if d := blk.Body.Attributes["default"]; d != nil && len(d.Expr.Variables()) > 0 {
				b.roots[label] = "local." + label
			}
		case "function":
			b.function(blk, label)
		case "target":
			if old := b.targets[label]; old != nil { // the later one adds to it
				old.Body.Blocks = append(old.Body.Blocks, blk.Body.Blocks...)
				for name, a := range blk.Body.Attributes {
					old.Body.Attributes[name] = a
				}
				continue
			}
			t := &target{Block: blk, name: label, here: b.names.pick(label)}
			b.targets[label] = t
			b.order = append(b.order, t)
		case "group":
			b.groups = append(b.groups, blk)
		default:
			b.warn(b.place(blk.DefRange()), "there is no counterpart for the block %s", blk.Type)
		}
	}
}

func (b *bake) function(blk *hclsyntax.Block, name string) {
	f := &function{src: b.src}
	params, result := blk.Body.Attributes["params"], blk.Body.Attributes["result"]
	if params == nil || result == nil || blk.Body.Attributes["variadic_params"] != nil {
		b.warn(b.place(blk.DefRange()), "the function %s has no counterpart; what calls it is left out", name)
		return
	}
	exprs, _ := hcl.ExprList(params.Expr)
	for _, e := range exprs {
		f.params = append(f.params, hcl.ExprAsKeyword(e))
	}
	f.result = result.Expr
	b.functions[name] = f
}

// selectTargets finds out which targets become images: all but those that are
// only there to be inherited.
func (b *bake) selectTargets() {
	want := map[string]bool{}
	for _, g := range b.groups {
		if a := g.Body.Attributes["targets"]; a != nil {
			for _, name := range literals(a.Expr) {
				want[name] = true
			}
		}
	}
	for _, t := range b.order {
		for _, name := range b.parents(t) {
			if p := b.targets[name]; p != nil {
				p.parent = true
			}
		}
		if a := t.Body.Attributes["contexts"]; a != nil {
			for _, e := range values(a.Expr) {
				if name, ok := strings.CutPrefix(literal(e), "target:"); ok {
					want[name] = true
				}
			}
		}
		t.instances = b.matrixNames(t)
	}
	for _, t := range b.order {
		t.wanted = !t.parent || want[t.name] || slices.ContainsFunc(t.instances, func(n string) bool { return want[n] })
	}
}

// parents returns the names of the targets that a target inherits.
func (b *bake) parents(t *target) []string {
	if a := t.Body.Attributes["inherits"]; a != nil {
		return literals(a.Expr)
	}
	return nil
}

// variables writes what expressions refer to.
func (b *bake) variables(body *hclsyntax.Body) {
	var locals []pair
	for _, blk := range body.Blocks {
		if blk.Type != "variable" || len(blk.Labels) == 0 {
			continue
		}
		name, at := blk.Labels[0], b.place(blk.DefRange())
		if strings.HasPrefix(b.roots[name], "local.") {
			d := blk.Body.Attributes["default"]
			text, err := b.text(d.Expr, nil)
			if err != nil {
				b.add("variable "+quote(name), b.warn(at, "the default of the variable %s is left out: %s", name, err))
				b.roots[name] = "var." + name
				continue
			}
			b.warn(at, "the variable %s has become local.%s, since its default refers to others: --var cannot set it", name, name)
			locals = append(locals, pair{name, text})
			continue
		}
		b.variable(blk, name)
	}
	for _, a := range sortedAttributes(body) {
		text, err := b.text(a.Expr, nil)
		if err != nil {
			b.warn(b.place(a.SrcRange), "%s is left out: %s", a.Name, err)
			continue
		}
		locals = append(locals, pair{a.Name, text})
	}
	for _, p := range locals {
		b.localNames.pick(p.key)
	}
	if len(locals) > 0 {
		blk := b.add("locals")
		for _, p := range locals {
			blk.set(p.key, p.expr)
		}
	}
}

func (b *bake) variable(blk *hclsyntax.Block, name string) {
	v := b.add("variable " + quote(name))
	attrs := blk.Body.Attributes
	d := attrs["default"]
	switch ty := attrs["type"]; {
	case ty != nil:
		v.set("type", string(ty.Expr.Range().SliceBytes(b.src)))
	case d == nil:
		v.set("type", "string")
	default:
		if ty := literalType(d.Expr); ty != "" {
			v.set("type", ty)
		}
	}
	if d == nil {
		v.set("default", `""`) // as bake takes it
	} else if text, err := b.text(d.Expr, nil); err != nil {
		v.comment("default: " + b.warn(b.place(d.SrcRange), "the default of the variable %s is left out: %s", name, err))
	} else {
		v.set("default", text)
	}
	if a := attrs["description"]; a != nil {
		v.set("description", string(a.Expr.Range().SliceBytes(b.src)))
	}
	for _, check := range blk.Body.Blocks {
		cond, msg := check.Body.Attributes["condition"], check.Body.Attributes["error_message"]
		if check.Type != "validation" || cond == nil {
			continue
		}
		text, err := b.text(cond.Expr, nil)
		if err != nil {
			v.comment("validation: " + b.warn(b.place(check.DefRange()), "a validation of the variable %s is left out: %s", name, err))
			continue
		}
		n := v.block("validation")
		n.set("condition", text)
		n.set("error_message", quote("The value of "+name+" is not valid."))
		if msg != nil {
			if text, err := b.text(msg.Expr, nil); err == nil {
				n.items[1] = "error_message = " + text
			}
		}
	}
}

// group writes a group of targets and other groups.
func (b *bake) group(g *hclsyntax.Block) {
	name := ""
	if len(g.Labels) > 0 {
		name = g.Labels[0]
	}
	n := b.add("group " + quote(name))
	a := g.Body.Attributes["targets"]
	if a == nil {
		n.set("targets", "[]")
		return
	}
	var targets []string
	for _, t := range literals(a.Expr) {
		switch {
		case slices.ContainsFunc(b.groups, func(o *hclsyntax.Block) bool { return len(o.Labels) > 0 && o.Labels[0] == t }):
			targets = append(targets, "group."+t)
		case b.reference(t, true) != "":
			targets = append(targets, b.reference(t, true))
		default:
			n.comment(b.warn(b.place(a.SrcRange), "the group %s names %s, which is no target that is known before bake runs", name, t))
		}
	}
	n.set("targets", list(targets))
}

// reference returns what a target of bake is called here, "" if it is not known:
// the bottle of it if there is one and it is wanted, else the image.
func (b *bake) reference(name string, bottle bool) string {
	kind := func(t *target) string {
		if bottle && t.bottle != "" {
			return "bottle." + t.bottle
		}
		return "image." + t.here
	}
	if t := b.targets[name]; t != nil {
		return kind(t)
	}
	for _, t := range b.order {
		if slices.Contains(t.instances, name) {
			return kind(t) + "[" + quote(name) + "]"
		}
	}
	return ""
}
