package importer

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"

	bottlefile "bottlebuild/hcl"
)

func stringValue(s string) cty.Value { return cty.StringVal(s) }

// operators are functions of bake that are operators in the language.
var operators = map[string]string{
	"add": "+", "subtract": "-", "multiply": "*", "divide": "/", "modulo": "%",
	"equal": "==", "notequal": "!=", "and": "&&", "or": "||",
	"greaterthan": ">", "greaterthanorequalto": ">=", "lessthan": "<", "lessthanorequalto": "<=",
}

// renamed are functions of bake that have another name here.
var renamed = map[string]string{
	"absolute": "abs", "indexof": "index", "reverse": "strrev", "reverselist": "reverse", "sethaselement": "contains",
}

// translator writes expressions of bake as expressions of a bottle file.
type translator struct {
	src       []byte
	roots     map[string]string // what a name is here: "TAG" is "var.TAG"
	functions map[string]*function
	calls     int // of the file's own functions inside each other
}

// function is one that a bake file declares. Calls of it are replaced by what it
// returns.
type function struct {
	params []string
	result hclsyntax.Expression
	src    []byte
}

// maxExpansion bounds the text that calls of functions inside each other become.
const maxExpansion = 1 << 20

type edit struct {
	start, end int
	text       string
}

// text writes an expression; local has the names that mean something else in it.
// The error says what of it there is no counterpart for.
func (t *translator) text(e hclsyntax.Expression, local map[string]string) (string, error) {
	w := &walker{t: t, local: local}
	if diags := hclsyntax.Walk(e, w); diags.HasErrors() {
		return "", errors.New(diags.Error())
	}
	if w.err != nil {
		return "", w.err
	}
	r := e.Range()
	slices.SortFunc(w.edits, func(a, b edit) int { return a.start - b.start })
	var out strings.Builder
	at := r.Start.Byte
	for _, ed := range w.edits {
		if ed.start < at {
			continue // inside what has been replaced
		}
		out.Write(t.src[at:ed.start])
		out.WriteString(ed.text)
		at = ed.end
	}
	out.Write(t.src[at:r.End.Byte])
	if out.Len() > maxExpansion {
		return "", errors.New("its functions become too long when they are written out")
	}
	return out.String(), nil
}

// walker collects what has to be written otherwise.
type walker struct {
	t      *translator
	local  map[string]string
	bound  []string // names that for expressions around bind
	inside int      // of a call that is replaced as a whole
	edits  []edit
	err    error
}

func (w *walker) Enter(n hclsyntax.Node) (diags hcl.Diagnostics) {
	switch e := n.(type) {
	case *hclsyntax.ForExpr:
		w.bound = append(w.bound, e.KeyVar, e.ValVar)
	case *hclsyntax.FunctionCallExpr:
		if w.inside == 0 {
			w.call(e)
		}
		if w.replaces(e) {
			w.inside++
		}
	case *hclsyntax.ScopeTraversalExpr:
		if w.inside > 0 || slices.Contains(w.bound, e.Traversal.RootName()) {
			return nil
		}
		name := e.Traversal.RootName()
		at := e.Traversal[0].SourceRange()
		to, ok := w.local[name]
		if !ok {
			to, ok = w.t.roots[name]
		}
		if !ok {
			w.fail("there is nothing called %s", name)
			return nil
		}
		w.edits = append(w.edits, edit{at.Start.Byte, at.End.Byte, to})
	}
	return nil
}

func (w *walker) Exit(n hclsyntax.Node) (diags hcl.Diagnostics) {
	switch e := n.(type) {
	case *hclsyntax.ForExpr:
		w.bound = w.bound[:len(w.bound)-2]
	case *hclsyntax.FunctionCallExpr:
		if w.replaces(e) {
			w.inside--
		}
	}
	return nil
}

func (w *walker) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// replaces tells whether a call is written as something that is no call.
func (w *walker) replaces(e *hclsyntax.FunctionCallExpr) bool {
	return w.t.functions[e.Name] != nil || (operators[e.Name] != "" || e.Name == "index") && len(e.Args) == 2 || (e.Name == "not" || e.Name == "negate") && len(e.Args) == 1
}

func (w *walker) call(e *hclsyntax.FunctionCallExpr) {
	at := e.Range()
	replace := func(text string) {
		w.edits = append(w.edits, edit{at.Start.Byte, at.End.Byte, text})
	}
	local := w.local
	if len(w.bound) > 0 { // what for expressions bind stays as it is
		local = map[string]string{}
		for k, v := range w.local {
			local[k] = v
		}
		for _, b := range w.bound {
			local[b] = b
		}
	}
	var args []string
	if w.replaces(e) {
		for _, a := range e.Args {
			text, err := w.t.text(a, local)
			if err != nil {
				w.fail("%s", err)
				return
			}
			args = append(args, text)
		}
	}
	f := w.t.functions[e.Name]
	switch {
	case f != nil && (len(f.params) != len(e.Args) || e.ExpandFinal):
		w.fail("the function %s takes %d arguments", e.Name, len(f.params))
	case f != nil:
		if w.t.calls++; w.t.calls > 100 {
			w.fail("the function %s calls itself, or many others", e.Name)
			return
		}
		params := map[string]string{}
		for i, p := range f.params {
			params[p] = parenthesized(e.Args[i], args[i])
		}
		inner := *w.t
		inner.src = f.src
		text, err := inner.text(f.result, params)
		w.t.calls = inner.calls - 1
		if err != nil {
			w.fail("the function %s: %s", e.Name, err)
			return
		}
		replace(parenthesized(f.result, text))
	case operators[e.Name] != "" && len(e.Args) == 2:
		replace("(" + args[0] + " " + operators[e.Name] + " " + args[1] + ")")
	case e.Name == "index" && len(e.Args) == 2: // of a collection's key, and not Terraform's
		replace("(" + args[0] + ")[" + args[1] + "]")
	case e.Name == "not" && len(e.Args) == 1:
		replace("!(" + args[0] + ")")
	case e.Name == "negate" && len(e.Args) == 1:
		replace("-(" + args[0] + ")")
	case renamed[e.Name] != "":
		w.edits = append(w.edits, edit{e.NameRange.Start.Byte, e.NameRange.End.Byte, renamed[e.Name]})
	case !bottlefile.HasFunction(e.Name):
		w.fail("there is no function %s", e.Name)
	}
}

// parenthesized puts parentheses around what would bind otherwise without.
func parenthesized(e hclsyntax.Expression, text string) string {
	switch e.(type) {
	case *hclsyntax.BinaryOpExpr, *hclsyntax.ConditionalExpr, *hclsyntax.UnaryOpExpr:
		return "(" + text + ")"
	}
	return text
}
