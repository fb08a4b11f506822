package bottlefile

import (
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"
)

func TestGivenVariables(t *testing.T) {
	tests := []struct {
		name, declaration, given, want string // want is an HCL expression
	}{
		{"string as it is", `type = string`, `a "b" ${c}`, `"a \"b\" $${c}"`},
		{"empty string", `type = string`, ``, `""`},
		{"no type", `default = null`, `{a=1}`, `"{a=1}"`},
		{"type of the default", `default = 1`, ` 2 `, `2`},
		{"list of the default", `default = ["x"]`, `["y", "z"]`, `["y", "z"]`},
		{"number", `type = number`, `8.5`, `8.5`},
		{"bool", `type = bool`, `true`, `true`},
		{"list", `type = list(string)`, `["a", 1]`, `tolist(["a", "1"])`},
		{"JSON", `type = map(number)`, `{"a": 1}`, `tomap({ a = 1 })`},
		{"optional attribute", `type = object({ a = string, b = optional(number, 2) })`, `{ a = "x" }`, `{ a = "x", b = 2 }`},
		{"null where it is the default", "type = list(string)\nnullable = false\ndefault = [\"d\"]", `null`, `tolist(["d"])`},
		{"null", "type = list(string)\ndefault = [\"d\"]", `null`, `null`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, diags := load(t, t.TempDir(), "variable \"v\" {\n"+test.declaration+"\n}\nlocals { want = "+test.want+" }", map[string]Var{"v": {test.given, "--var"}})
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			got, want := f.variables[0].value, f.eval.locals["want"]
			if want.IsNull() {
				if !got.IsNull() {
					t.Errorf("got %#v", got)
				}
				return
			}
			if want.Type().IsTupleType() { // a default without a type is of that of its expression
				want = cty.TupleVal(want.AsValueSlice())
			}
			if !got.RawEquals(want) {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

func TestGivenVariablesAreBounded(t *testing.T) {
	for _, given := range []string{strings.Repeat("[", 100_000), strings.Repeat("x", MaxFileSize+1)} {
		_, diags := load(t, t.TempDir(), `variable "v" { type = list(any) }`, map[string]Var{"v": {given, "--var"}})
		if !diags.HasErrors() {
			t.Errorf("a value of %d bytes is taken", len(given))
		}
	}
}

func TestVersionConstraints(t *testing.T) {
	tests := []struct {
		version, constraint string
		want                bool
	}{
		{"1.2.3", "1.2.3", true},
		{"1.2.3", "= 1.2", false},
		{"1.2.3", "!= 1.2.3", false},
		{"1.2.3", ">= 1.2, < 2", true},
		{"2.0.0", ">= 1.2, < 2", false},
		{"1.9.0", "~> 1.2", true},
		{"2.0.0", "~> 1.2", false},
		{"1.1.0", "~> 1.2", false},
		{"1.2.9", "~> 1.2.3", true},
		{"1.3.0", "~> 1.2.3", false},
		{"1.5.0", "~> 1", true},
		{"v1.10.0", "> 1.9", true},
		{"1.0.0-rc.1", ">= 1.0.0", false},
		{"1.0.0-rc.1+build", "< 1.0.0", true},
		{"1.0.0-rc.2", "> 1.0.0-rc.1", true},
		{"dev", ">= 99", true},
		{"", ">= 99", true},
	}
	for _, test := range tests {
		got, err := satisfies(test.version, test.constraint)
		if err != nil || got != test.want {
			t.Errorf("%q meets %q: %v, %v; want %v", test.version, test.constraint, got, err, test.want)
		}
	}
	for _, bad := range []string{"", "x", "1.2.3.4", ">=", "1 2", "=> 1"} {
		if _, err := satisfies("1.0.0", bad); err == nil {
			t.Errorf("%q is taken as a constraint", bad)
		}
	}
}
