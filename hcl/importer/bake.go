package importer

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	bottlefile "bottlebuild/hcl"
)

// bake is a bake file on its way to a bottle file.
type bake struct {
	*translator
	*file
	root                           *os.Root        // the directory that paths are relative to; nil: it is not known
	noLines                        map[string]bool // files that were JSON: places in them have no lines
	names, secretNames, localNames names
	targets                        map[string]*target
	order                          []*target
	groups                         []*hclsyntax.Block
	variableBlocks                 []*hclsyntax.Block
	attributes                     []*hclsyntax.Attribute // at the top level
	secrets                        map[string]string      // expression of a secret's name here, by its definition
}

// Bake translates files of docker buildx bake, which are read as one, as bake reads
// them: what a later one says of a target comes on top. Each is HCL, or JSON if its
// name ends in .json or its source starts with a brace. dir is the directory that
// their paths are relative to. It returns diagnostics, with a file for
// [bottlefile.WriteDiagnostics], if a source cannot be read.
func Bake(dir string, files ...bottlefile.Source) (Result, *bottlefile.File, bottlefile.Diagnostics) {
	b := &bake{
		translator: &translator{roots: map[string]string{}, functions: map[string]*function{}},
		file:       newFile(files), noLines: map[string]bool{}, targets: map[string]*target{}, secrets: map[string]string{},
	}
	if root, err := os.OpenRoot(dir); err == nil {
		defer root.Close()
		b.root = root
	}
	var bodies []*hclsyntax.Body
	var shown *bottlefile.File
	for _, f := range files {
		body, in, diags := b.parse(f)
		if diags.HasErrors() {
			return Result{}, in, diags
		}
		bodies, shown = append(bodies, body), in
	}
	for _, body := range bodies {
		b.declare(body)
	}
	b.variables()
	for _, t := range b.order {
		t.instances = b.matrixNames(t)
	}
	for _, t := range b.order {
		b.inherits(t)
	}
	if t := b.entangled(); t != nil {
		return Result{}, shown, bottlefile.Diagnostics{{
			Severity: hcl.DiagError, Summary: "Too many ways to inherit",
			Detail: fmt.Sprintf("%s: the targets up to %s inherit one another in more than %d ways. Have each name those it inherits once.", b.place(t.DefRange()), t.name, maxInherited),
		}}
	}
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

// parse reads one file. Positions in it are those in b.src, which has the sources
// of all files after each other.
func (b *bake) parse(f bottlefile.Source) (*hclsyntax.Body, *bottlefile.File, bottlefile.Diagnostics) {
	src := f.Bytes
	if isJSON(f.Path, src) {
		b.noLines[f.Path] = true
		var err error
		if src, err = bakeJSON(src); err != nil {
			return nil, nil, bottlefile.Diagnostics{{Severity: hcl.DiagError, Summary: "Invalid JSON", Detail: fmt.Sprintf("%s: %s.", f.Path, err)}}
		}
	}
	// Format also checks what the parser could not survive.
	src, shown, diags := bottlefile.Format(f.Path, src)
	if diags.HasErrors() {
		return nil, shown, diags
	}
	parsed, diags := hclsyntax.ParseConfig(src, f.Path, hcl.Pos{Line: 1, Column: 1, Byte: len(b.src)})
	if diags.HasErrors() {
		return nil, shown, diags
	}
	b.src = append(b.src, src...)
	return parsed.Body.(*hclsyntax.Body), shown, nil
}

func (b *bake) place(r hcl.Range) string {
	base := filepath.Base(r.Filename)
	if b.noLines[r.Filename] {
		return base
	}
	return fmt.Sprintf("%s:%d", base, r.Start.Line)
}

// declare gives everything its name.
func (b *bake) declare(body *hclsyntax.Body) {
	for _, a := range sortedAttributes(body) {
		b.roots[a.Name] = "local." + a.Name
		b.attributes = slices.DeleteFunc(b.attributes, func(o *hclsyntax.Attribute) bool { return o.Name == a.Name })
		b.attributes = append(b.attributes, a)
	}
	for _, blk := range body.Blocks {
		if len(blk.Labels) == 0 {
			blk.Labels = []string{""}
		}
		label := blk.Labels[0]
		same := func(o *hclsyntax.Block) bool { return o.Labels[0] == label }
		switch blk.Type {
		case "variable":
			b.roots[label] = "var." + label
			if d := blk.Body.Attributes["default"]; d != nil && len(d.Expr.Variables()) > 0 {
				b.roots[label] = "local." + label
			}
			b.variableBlocks = append(slices.DeleteFunc(b.variableBlocks, same), blk)
		case "function":
			b.function(blk, label)
		case "target":
			if old := b.targets[label]; old != nil {
				old.parts = append(old.parts, blk.Body)
				continue
			}
			t := &target{Block: blk, name: label, here: b.names.pick(label), parts: []*hclsyntax.Body{blk.Body}}
			b.targets[label] = t
			b.order = append(b.order, t)
		case "group": // bake, too, takes the last of a name
			b.groups = append(slices.DeleteFunc(b.groups, same), blk)
		default:
			b.note(b.warn(b.place(blk.DefRange()), "there is no counterpart for the block %s", blk.Type) + "\n" + string(blk.Range().SliceBytes(b.src)))
		}
	}
}

func (b *bake) function(blk *hclsyntax.Block, name string) {
	f := &function{src: b.src}
	params, result := blk.Body.Attributes["params"], blk.Body.Attributes["result"]
	if params == nil || result == nil || blk.Body.Attributes["variadic_params"] != nil {
		b.note(b.warn(b.place(blk.DefRange()), "the function %s has no counterpart; what calls it is left out", name))
		return
	}
	exprs, _ := hcl.ExprList(params.Expr)
	for _, e := range exprs {
		f.params = append(f.params, hcl.ExprAsKeyword(e))
	}
	f.result = result.Expr
	b.functions[name] = f
}

// group writes a group of targets and other groups.
func (b *bake) group(g *hclsyntax.Block) {
	n := b.add("group " + quote(g.Labels[0]))
	a := g.Body.Attributes["targets"]
	if a == nil {
		n.set("targets", "[]")
		return
	}
	wanted, err := b.texts(a.Expr, nil)
	if err != nil {
		n.comment(b.warn(b.place(a.SrcRange), "targets of the group %s is left out: %s", g.Labels[0], err) + "\n" + string(a.SrcRange.SliceBytes(b.src)))
	}
	var targets []string
	for _, t := range wanted {
		switch {
		case slices.ContainsFunc(b.groups, func(o *hclsyntax.Block) bool { return o.Labels[0] == t }):
			targets = append(targets, "group."+t)
		case b.reference(t, true) != "":
			targets = append(targets, b.reference(t, true))
		default:
			n.comment(b.warn(b.place(a.SrcRange), "the group %s names %s, which is no target that is known before bake runs", g.Labels[0], t))
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
