package bottlefile

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// TestReference compares docs/bottlefile.md with what the schema says.
// Write it anew with: go test ./hcl -run TestReference -update
func TestReference(t *testing.T) {
	const path = "../docs/bottlefile.md"
	got := Reference()
	if *update {
		if err := os.MkdirAll("../docs", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("docs/bottlefile.md is not what the schema says; run: go test ./hcl -run TestReference -update\n%s", d)
	}
}

// TestAttrDocs holds that every attribute has an example of its type, and that
// every example is of an attribute.
func TestAttrDocs(t *testing.T) {
	f := newScratch()
	unused := map[string]bool{}
	for path := range attrDocs() {
		unused[path] = true
	}
	var check func(s *BlockSchema, path string)
	check = func(s *BlockSchema, path string) {
		for _, a := range s.Attrs {
			at := path + a.Name
			delete(unused, at)
			d, ok := attrDocs()[at]
			if !ok || d.example == "" {
				t.Errorf("%s has no example in attrDocs", at)
				continue
			}
			if a.Type == cty.Number && d.unit == "" {
				t.Errorf("%s has no unit in attrDocs", at)
			}
			e, diags := hclsyntax.ParseExpression([]byte(d.example), at, hcl.InitialPos)
			if diags.HasErrors() {
				t.Errorf("%s: %v", at, diags)
				continue
			}
			if a.Static || len(e.Variables()) > 0 {
				continue
			}
			v, diags := e.Value(f.functionsOnly())
			if diags.HasErrors() {
				t.Errorf("%s: %v", at, diags)
				continue
			}
			if _, err := convertTo(v, a.Type); err != nil {
				t.Errorf("%s: the example is no %s: %v", at, a.Type.FriendlyName(), err)
			}
		}
		for _, b := range s.Blocks {
			check(b, path+b.Name+".")
		}
	}
	check(Schema, "")
	check(dynamicSchema, dynamicSchema.Name+".")
	for path := range unused {
		t.Errorf("attrDocs has %s, which is no attribute", path)
	}
}

// TestFunctionDocs holds that every function that can be called is explained by
// an example that works, and calls it.
func TestFunctionDocs(t *testing.T) {
	f := newScratch()
	callable := regexp.MustCompile(`^[a-z]`)
	for name := range f.functions {
		d, ok := functionDocs()[name]
		switch {
		case !callable.MatchString(name):
		case !ok || d.text == "":
			t.Errorf("%s is not in functionDocs", name)
		case !strings.Contains(d.example, name+"("):
			t.Errorf("the example of %s does not call it: %s", name, d.example)
		case !d.reads:
			if v, diags := f.evalPure(d.example); diags.HasErrors() || !v.IsWhollyKnown() {
				t.Errorf("%s: %v %v", d.example, v, diags)
			}
		}
	}
	for name := range functionDocs() {
		if _, ok := f.functions[name]; !ok {
			t.Errorf("functionDocs has %s, which is no function", name)
		}
	}
}
