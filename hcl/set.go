package bottlefile

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// settable are the kinds of blocks whose attributes can be set from outside.
var settable = []*BlockSchema{registrySchema, cacheSchema, imageSchema, bottleSchema}

// step is one part of a path to an attribute: "machine", "export[0]",
// `file["/etc/motd"]`.
type step struct {
	name     string // * and ? stand for any letters
	selector string // which block of several; empty for all
}

// setting puts a value into the attributes that a path names.
type setting struct {
	path  string
	value func(*AttrSchema) (hclsyntax.Expression, hcl.Diagnostics)
	at    hcl.Range
	diags hcl.Diagnostics

	done    int    // attributes set
	reached int    // steps of the path that the furthest attempt took
	why     string // it went no further
}

// applySet reads "PATH=VALUE" and sets the attributes. A path that leads to none
// is an error.
func (f *File) applySet(top *block, text string) hcl.Diagnostics {
	fail := func(format string, args ...any) hcl.Diagnostics {
		return hcl.Diagnostics{invalidSet(format, args...)}
	}
	const form = "Write it as --set 'bottle.NAME.machine.cpus=2'; * stands for any name."
	steps, value, ok := splitSet(text)
	if !ok || len(steps) < 3 {
		return fail("%q is not of the form KIND.NAME.ATTRIBUTE=VALUE. %s", text, form)
	}
	name := text[:len(text)-len(value)-1]
	source := fmt.Sprintf("<--set %s>", name)
	f.sources[source] = &hcl.File{Bytes: []byte(value)}
	s := &setting{path: name, at: placeIn([]byte(value), 0, source)}
	s.value = func(as *AttrSchema) (hclsyntax.Expression, hcl.Diagnostics) { return setValue(value, source, as) }

	var kinds []string
	for _, kind := range settable {
		kinds = append(kinds, kind.Name)
		if !steps[0].matches(kind.Name) {
			continue
		}
		var names []string
		for _, b := range top.blocks[kind.Name] {
			names = append(names, b.label())
			switch key := steps[1].selector; {
			case !steps[1].matches(b.label()):
			case key != "":
				f.forInstances(b, s, key, steps[2:])
			default:
				s.in(b, kind.Name+"."+b.label(), steps[2:], 2)
			}
		}
		s.stop(1, fmt.Sprintf("No %s is named %q.%s", kind.Name, steps[1].name, didYouMean(steps[1].name, names)))
	}
	if s.done == 0 && !s.diags.HasErrors() {
		s.stop(0, fmt.Sprintf("No attribute of a %q can be set, only of %s.%s", steps[0].name, oneOf(kinds), didYouMean(steps[0].name, kinds)))
		return fail("--set %s sets nothing. %s", name, s.why)
	}
	return s.diags
}

func invalidSet(format string, args ...any) *hcl.Diagnostic {
	return &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Invalid --set", Detail: fmt.Sprintf(format, args...)}
}

// stop notes why an attempt ended, if none before it came further.
func (s *setting) stop(reached int, why string) {
	if s.why == "" || reached > s.reached {
		s.reached, s.why = reached, why
	}
}

// in sets the attributes that the rest of the path names in a block.
func (s *setting) in(b *block, address string, steps []step, depth int) {
	next := steps[0]
	for _, as := range b.schema.Attrs {
		if key, ok := elementOf(as, steps); ok {
			var old hcl.Expression
			if a := b.attrs[as.Name]; a != nil {
				old = a.Expr
			}
			s.put(b, as, elementSchema, func(e hclsyntax.Expression) hclsyntax.Expression { return withElement(old, key, e) })
			return
		}
	}
	if len(steps) > 1 {
		var kinds []string
		for _, kind := range b.schema.Blocks {
			kinds = append(kinds, kind.Name)
			if next.matches(kind.Name) {
				for i, n := range b.blocks[kind.Name] {
					if next.selects(i, n) {
						s.in(n, address+"."+kind.Name, steps[1:], depth+1)
					}
				}
				s.stop(depth+1, fmt.Sprintf("%s has no such %s block; --set changes blocks that are written.", address, kind.Name))
			}
		}
		s.stop(depth, fmt.Sprintf("There is no block %q in %s block.%s", next.name, withArticle(b.schema.Name), didYouMean(next.name, kinds)))
		return
	}
	var names []string
	for _, as := range b.schema.Attrs {
		names = append(names, as.Name)
		if as.Name != next.name || next.selector != "" {
			continue
		}
		s.put(b, as, as, func(e hclsyntax.Expression) hclsyntax.Expression { return e })
	}
	s.stop(depth, fmt.Sprintf("There is no attribute %q in %s block.%s", next.name, withArticle(b.schema.Name), didYouMean(next.name, names)))
}

// put gives a block an attribute that is made of the value, which is read as one
// of the schema given.
func (s *setting) put(b *block, as, given *AttrSchema, made func(hclsyntax.Expression) hclsyntax.Expression) {
	e, diags := s.value(given)
	s.diags = append(s.diags, diags...)
	a, diags := newAttr(&hcl.Attribute{Name: as.Name, Expr: made(e), Range: e.Range(), NameRange: s.at}, as, nil)
	s.diags = append(s.diags, diags...)
	b.set(a)
	s.done++
}

func (s step) matches(name string) bool {
	ok, err := path.Match(s.name, name)
	return ok && err == nil
}

// selects tells whether the step means the block at index i of its kind: by
// index, or by label.
func (s step) selects(i int, b *block) bool {
	return s.selector == "" || s.selector == strconv.Itoa(i) || len(b.labels) > 0 && s.selector == b.label()
}

// splitSet splits "PATH=VALUE"; dots and equals signs in brackets are part of a
// selector.
func splitSet(text string) (steps []step, value string, ok bool) {
	rest := text
	for {
		end := strings.IndexAny(rest, ".=[")
		if end <= 0 {
			return nil, "", false
		}
		s := step{name: rest[:end]}
		rest = rest[end:]
		if rest[0] == '[' {
			quote := ""
			if strings.HasPrefix(rest, `["`) {
				quote = `"`
			}
			selector, after, closed := strings.Cut(rest[1+len(quote):], quote+"]")
			if !closed || selector == "" || after == "" {
				return nil, "", false
			}
			s.selector, rest = selector, after
		}
		steps = append(steps, s)
		switch rest[0] {
		case '=':
			return steps, rest[1:], true
		case '.':
			rest = rest[1:]
		default:
			return nil, "", false
		}
	}
}

// setValue reads a value as an expression. What is none, or starts with a word
// that no reference starts with, is a text: container, 6GiB, dist/web.tar. So is
// a number where a text belongs.
func setValue(value, source string, as *AttrSchema) (hclsyntax.Expression, hcl.Diagnostics) {
	src := []byte(value)
	at := placeIn(src, 0, source)
	at.End = hcl.Pos{Line: 1, Column: 1 + len(src), Byte: len(src)}
	if as.Static {
		return staticText(value, at), nil
	}
	if diags := checkBounds(src, source, hclsyntax.LexExpression); diags.HasErrors() {
		return literalText("", at), diags
	}
	e, diags := hclsyntax.ParseExpression(src, source, hcl.InitialPos)
	if diags.HasErrors() {
		return literalText(value, at), nil
	}
	for _, t := range e.Variables() {
		if !slices.Contains(roots, t.RootName()) {
			return literalText(value, at), nil
		}
	}
	if l, ok := e.(*hclsyntax.LiteralValueExpr); ok && l.Val.Type() == cty.Number &&
		(as.Type == cty.String || as.Type == cty.DynamicPseudoType && as != forEachAttr) {
		return literalText(value, at), nil
	}
	return e, boundIn(e)
}
