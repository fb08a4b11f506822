package tasks

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestKeysDocument holds docs/keys.md to the source: it names each component that
// is added to a recipe, and no other.
func TestKeysDocument(t *testing.T) {
	text, err := os.ReadFile("../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	row := regexp.MustCompile("(?m)^\\| (`.*?`) \\|")
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			documented[stemOf(strings.Trim(name, "`"))] = true
		}
	}
	added := map[string]string{}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !strings.HasPrefix(sel.Sel.Name, "Add") || len(call.Args) < 2 {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "r" {
				if c := literalOf(call.Args[0]); c != "" {
					added[stemOf(c)] = name
				}
			}
			return true
		})
	}
	for c, file := range added {
		if !documented[c] {
			t.Errorf("%s adds the component %q to a recipe; describe it in docs/keys.md", file, c)
		}
	}
	for c := range documented {
		if added[c] == "" && c != "contexts" && c != "context" && c != "secrets" {
			t.Errorf("docs/keys.md describes the component %q, which nothing adds", c)
		}
	}
}

// stemOf returns the part of a component's name before what differs.
func stemOf(c string) string {
	c, _, _ = strings.Cut(c, "%")
	var parts []string
	for p := range strings.SplitSeq(strings.Trim(c, "."), ".") {
		if p == strings.ToUpper(p) {
			break
		}
		parts = append(parts, p)
	}
	return strings.Join(parts, ".")
}

// literalOf returns the string that an expression starts with, if it does.
func literalOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, err := strconv.Unquote(e.Value)
		if err == nil {
			return s
		}
	case *ast.BinaryExpr:
		return literalOf(e.X)
	case *ast.CallExpr:
		if sel, ok := e.Fun.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sprintf" {
			return literalOf(e.Args[0])
		}
	}
	return ""
}
