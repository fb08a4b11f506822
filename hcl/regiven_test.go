package bottlefile

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegiven(t *testing.T) {
	o := Options{
		Path: "bottles.hcl", Dir: t.TempDir(),
		Source: []byte(`
variable "text" { default = "a" }
variable "number" { default = 1 }
variable "list" {
  type    = list(string)
  default = ["a"]
}
variable "filed" { default = "a" }
variable "commanded" { default = "a" }
variable "given" { default = "a" }
variable "strict" {
  type     = list(string)
  default  = []
  nullable = false
}
variable "token" {
  default   = "heron"
  sensitive = true
}
`),
		Env:      map[string]Var{"given": {"b", "BOTTLE_VAR_given"}},
		VarFiles: []Source{{Path: "a.vars.hcl", Bytes: []byte(`filed = "b"`)}},
		Vars:     map[string]Var{"commanded": {"b", "--var"}},
	}
	f, diags := Load(t.Context(), o)
	if diags.HasErrors() {
		t.Fatal(render80(t, f, diags))
	}
	for _, c := range []struct {
		name, value string
		want        []Regiven
	}{
		{"text", "a", nil},
		{"text", "", []Regiven{{Name: "text", Was: `"a"`, Is: `""`}}},
		{"number", "1", nil},
		{"number", " 1.0", nil},
		{"number", "2", []Regiven{{Name: "number", Was: "1", Is: "2"}}},
		{"number", "x", []Regiven{{Name: "number", Was: "1"}}},
		{"list", `[ "a" ]`, nil},
		{"list", `["a", "b"]`, []Regiven{{Name: "list", Was: `["a"]`, Is: `["a", "b"]`}}},
		{"list", `[`, []Regiven{{Name: "list", Was: `["a"]`}}},
		{"list", `[for x in ["a"]: x]`, nil},
		{"filed", "c", nil},
		{"commanded", "c", nil},
		{"given", "b", nil},
		{"given", "a", []Regiven{{Name: "given", Was: `"b"`, Is: `"a"`}}},
		{"strict", "null", nil},
		{"token", "heron", nil},
		{"token", "egret", []Regiven{{Name: "token", Sensitive: true}}},
		{"undeclared", "x", nil},
	} {
		for i := range c.want {
			c.want[i].Origin = "BOTTLE_VAR_" + c.name
		}
		got := f.Regiven(map[string]Var{c.name: {c.value, "BOTTLE_VAR_" + c.name}})
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s = %q:\n%s", c.name, c.value, diff)
		}
	}
}
