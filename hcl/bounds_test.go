package bottlefile

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// TestBounds gives the loader what would exhaust the stack or the memory of a
// parser without bounds.
func TestBounds(t *testing.T) {
	many := func(s string) string { return strings.Repeat(s, 100_000) }
	tests := []struct{ name, source, want string }{
		{"parentheses", "locals { a = " + many("(") + "1" + many(")") + " }", "Nested too deeply"},
		{"open parentheses", "locals { a = " + many("("), "Nested too deeply"},
		{"brackets", "locals { a = " + many("[") + many("]") + " }", "Nested too deeply"},
		{"blocks", many("a {\n") + many("}\n"), "Nested too deeply"},
		{"templates", "locals { a = " + many(`"${`) + many(`}"`) + " }", "Nested too deeply"},
		{"unary", "locals { a = " + many("!") + "true }", "Nested too deeply"},
		{"unary over lines", "locals {\na = (" + many("!\n") + "true)\n}", "Nested too deeply"},
		{"unary in an object's for", "locals {\na = { for k, v in " + many("-\n") + "1 : k => v }\n}", "Nested too deeply"},
		{"conditionals", "locals { a = " + many("true ? 1 : ") + "1 }", "Nested too deeply"},
		{"sum", "locals { a = 1" + many("+1") + " }", "Nested too deeply"},
		{"indexes", "locals { a = local.b" + many("[local.c]") + " }", "Nested too deeply"},
		{"calls", "locals { a = " + many("f(") + " }", "Nested too deeply"},
		{"template ifs", "locals { a = \"" + many("%{ if true }") + "\" }", "Nested too deeply"},
		{"template ifs in a heredoc", "locals {\na = <<E\n" + many("%{ for x in y }") + "\nE\n}", "Nested too deeply"},
		{"splats", "locals { a = local.b" + many("[*]") + " }", "Nested too deeply"},
		{"old splats", "locals { a = local.b" + many(".*") + " }", "Nested too deeply"},
		{"size", strings.Repeat("#", MaxFileSize+1), "File too large"},
		{"50 MB", strings.Repeat("a = 1\n", 50<<20/6), "File too large"},
		{"tokens", "locals { a = [" + strings.Repeat("1,", 1<<20) + "] }", "File too large"},
		{"exponent", "locals { a = 1e999999999 }", "Number too large"},
		{"digits", "locals { a = 1" + many("0") + " }", "Number too large"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, diags := load(t, t.TempDir(), test.source, nil)
			if !diags.HasErrors() || diags[0].Summary != test.want {
				t.Fatalf("got %.300v", diags)
			}
			var out bytes.Buffer
			if err := WriteDiagnostics(&out, f, diags, 80, false); err != nil || out.Len() > 10_000 {
				t.Errorf("the message has %d bytes: %v", out.Len(), err)
			}
		})
	}
}

// TestBoundsAdmit holds that the bounds leave room for what people write.
func TestBoundsAdmit(t *testing.T) {
	var b strings.Builder
	b.WriteString("locals {\n")
	b.WriteString("many = [\n" + strings.Repeat("{ a = [1, 2 + 3], b = \"${1 + 1} x ${2}\" },\n", 5000) + "]\n")
	b.WriteString("script = <<E\n" + strings.Repeat("case (x) in [[{ ${1} %{ if true }y%{ endif } ( \n", 1000) + "E\n")
	b.WriteString("deep = " + strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200) + "\n")
	b.WriteString("sum = 1" + strings.Repeat(" + 1", 200) + "\n")
	b.WriteString("}\n")
	if diags := checkBounds([]byte(b.String()), "x.hcl", hclsyntax.LexConfig); diags.HasErrors() {
		t.Fatal(diags)
	}
	mustLoad(t, t.TempDir(), b.String())
}

func TestIterationsAreBounded(t *testing.T) {
	o := Options{Path: "x.hcl", Dir: t.TempDir(), maxIterations: 10_000, Source: []byte(`
locals {
  k = range(100)
  a = [for x in local.k : [for y in local.k : [for z in local.k : [for w in local.k[*] : w]]]]
}`)}
	_, diags := Load(context.Background(), o)
	if len(diags) != 1 || diags[0].Summary != "Too many iterations" || subject(diags[0]).Start.Line != 4 {
		t.Errorf("got %v", diags)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.hcl")
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "read bottle file") {
		t.Errorf("of no file: %v", err)
	}
	if err := os.WriteFile(path, make([]byte, MaxFileSize), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := ReadFile(path); err != nil || len(b) != MaxFileSize {
		t.Errorf("of the largest file: %d bytes, %v", len(b), err)
	}
	if err := os.WriteFile(path, make([]byte, MaxFileSize+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); err == nil || !strings.Contains(err.Error(), "over 4 MiB") {
		t.Errorf("of a larger file: %v", err)
	}
}

func TestCancelledLoad(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := project(t)
	_, diags := Load(ctx, Options{Path: "x.hcl", Dir: dir, Source: []byte(`image "a" {}`)})
	if !diags.HasErrors() || !strings.Contains(diags.Error(), "canceled") {
		t.Errorf("got %v", diags)
	}
}
