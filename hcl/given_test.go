package bottlefile

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

// TestPrecedence gives a variable more and more values; each beats those before.
func TestPrecedence(t *testing.T) {
	o := Options{
		Path: "bottles.hcl", Dir: t.TempDir(), Vars: map[string]Var{}, Env: map[string]Var{},
		Source: []byte("variable \"v\" {\n  type = string\n  default = \"default\"\n}\n" +
			"bottle \"b\" {\n  image = \"alpine:3\"\n  machine {\n    user = var.v\n  }\n}\n"),
	}
	steps := []struct {
		want string
		give func()
	}{
		{"default", func() {}},
		{"env", func() { o.Env["v"] = Var{"env", "BOTTLE_VAR_v"} }},
		{"file", func() { o.VarFiles = append(o.VarFiles, Source{Path: "a.vars.hcl", Bytes: []byte(`v = "file"`)}) }},
		{"later", func() { o.VarFiles = append(o.VarFiles, Source{Path: "b.json", Bytes: []byte(`{"v": "later"}`)}) }},
		{"command", func() { o.Vars["v"] = Var{"command", "--var"} }},
		{"set", func() { o.Sets = append(o.Sets, "bottle.b.machine.user=set") }},
		{"last", func() { o.Sets = append(o.Sets, "bottle.*.machine.user=last") }},
	}
	for _, step := range steps {
		step.give()
		f, diags := Load(context.Background(), o)
		if diags.HasErrors() {
			t.Fatal(render80(t, f, diags))
		}
		if got := machineOf(t, f).User; got != step.want {
			t.Errorf("got %q, want %q", got, step.want)
		}
	}
}

func machineOf(t *testing.T, f *File) tasks.Machine {
	t.Helper()
	nodes, diags := f.Nodes([]string{"bottle.b.machine"})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	p, err := nodes[len(nodes)-1].Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.(tasks.Machine)
}

func TestVariablesOfFiles(t *testing.T) {
	tests := []struct{ typ, source, want string }{
		{"string", `v = "a${1 + 1}"`, `"a2"`},
		{"string", `{"v": "a${1 + 1}"}`, `"a$${1 + 1}"`},
		{"list(number)", `v = [for i in [1, 2] : i * 2]`, `tolist([2, 4])`},
		{"map(number)", `{"v": {"a": 1}}`, `tomap({ a = 1 })`},
		{"object({ a = number, b = optional(string, \"x\") })", `v = { a = 1 }`, `{ a = 1, b = "x" }`},
		{"string", `{"v": null}`, `null`},
	}
	for _, test := range tests {
		f, diags := Load(context.Background(), Options{
			Path: "bottles.hcl", Dir: t.TempDir(), VarFiles: []Source{{Path: "x.vars", Bytes: []byte(test.source)}},
			Source: []byte("variable \"v\" { type = " + test.typ + " }\nlocals { want = " + test.want + " }"),
		})
		if diags.HasErrors() {
			t.Errorf("%s: %v", test.source, diags)
			continue
		}
		got, want := f.variables[0].value, f.eval.locals["want"]
		if !(got.IsNull() && want.IsNull()) && !got.RawEquals(want) {
			t.Errorf("%s: got %#v, want %#v", test.source, got, want)
		}
	}
}

func TestSet(t *testing.T) {
	const source = `
image "base" {}
image "other" {}
registry "r" { embedded = true }
bottle "b" {
  image = image.base
  push {
    registry   = registry.r
    repository = "one"
  }
  push {
    registry   = registry.r
    repository = "two"
  }
  machine {
    file "/etc/a=b" { content = "a" }
    file "/etc/b" { content = "b" }
  }
}`
	tests := []struct {
		set  string
		want func(f *File) any
		is   any
	}{
		{"bottle.b.machine.cpus=1 + 1", func(f *File) any { return machineOf(t, f).CPUs }, 2},
		{"*.b.*.cpus=3", func(f *File) any { return machineOf(t, f).CPUs }, 3},
		{"bottle.?.machine.memory=6GiB", func(f *File) any { return machineOf(t, f).MemoryMiB }, 6144},
		{"bottle.b.machine.replace=if-stopped", func(f *File) any { return machineOf(t, f).Replace }, "if-stopped"},
		{"bottle.b.machine.user=1000", func(f *File) any { return machineOf(t, f).User }, "1000"},
		{"bottle.b.backend=container", func(f *File) any { return machineOf(t, f).Backend }, "container"},
		{"bottle.b.machine.env={ A = \"x=y\" }", func(f *File) any { return machineOf(t, f).Env["A"] }, "x=y"},
		{`bottle.b.machine.file["/etc/a=b"].mode=0600`, func(f *File) any { return machineOf(t, f).Files[0].Mode }, uint32(0o600)},
		{"bottle.b.machine.file[/etc/b].content=new", func(f *File) any { return string(machineOf(t, f).Files[1].Content) }, "new"},
		{"bottle.b.push[1].tags=[\"t\"]", func(f *File) any {
			var tags []string
			for _, u := range f.units {
				if p, ok := u.res.params.(tasks.Push); ok {
					tags = append(tags, fmt.Sprint(p.Repository, p.Tags))
				}
			}
			return fmt.Sprint(tags)
		}, "[one[] two[t]]"},
		{"bottle.b.image=image.other", func(f *File) any {
			nodes, _ := f.Nodes([]string{"bottle.b.machine"})
			return nodes[0].Address
		}, "image.other"},
		{"image.*.for_each={ k = 1 }", func(f *File) any {
			if f.valid {
				return "valid"
			}
			return "the bottle's image is one of several"
		}, "the bottle's image is one of several"},
	}
	for _, test := range tests {
		f, diags := Load(context.Background(), Options{Path: "bottles.hcl", Dir: project(t), Source: []byte(source), Sets: []string{test.set}})
		if diags.HasErrors() != !f.valid || !f.valid && test.set[:5] != "image" {
			t.Errorf("%s: %s", test.set, render80(t, f, diags))
			continue
		}
		if got := test.want(f); got != test.is {
			t.Errorf("%s: got %v, want %v", test.set, got, test.is)
		}
	}
}

// TestJSON holds that both syntaxes say the same.
func TestJSON(t *testing.T) {
	dir := project(t)
	native := mustLoad(t, dir, `
variable "n" {
  type    = list(string)
  default = ["a", "b"]
}
image "base" { args = { N = join(",", var.n), M = "$${x}" } }
bottle "b" {
  for_each = { for n in var.n : n => 8000 + index(var.n, n) }
  image    = image.base
  machine {
    cpus = 2
    file "/etc/motd" { content = "I am ${each.key}" }
    port {
      host  = each.value
      guest = 80
    }
  }
}
group "default" { targets = [bottle.b["a"], "image.*"] }
`)
	json, diags := Load(context.Background(), Options{
		Path: "bottles.hcl.json", Dir: dir, Project: "test", Source: []byte(`{
  "variable": {"n": {"type": "list(string)", "default": ["a", "b"]}},
  "image": {"base": {"args": {"N": "${join(\",\", var.n)}", "M": "$${x}"}}},
  "bottle": {"b": {
    "for_each": "${{ for n in var.n : n => 8000 + index(var.n, n) }}",
    "image": "${image.base}",
    "machine": {
      "cpus": 2,
      "file": {"/etc/motd": {"content": "I am ${each.key}"}},
      "port": [{"host": "${each.value}", "guest": 80}]
    }
  }},
  "group": {"default": {"targets": ["bottle.b[\"a\"]", "image.*"]}}
}`)})
	if diags.HasErrors() {
		t.Fatal(render80(t, json, diags))
	}
	var params [2][]string
	for i, f := range []*File{native, json} {
		nodes, diags := f.Nodes(nil)
		if diags.HasErrors() || len(nodes) != 3 {
			t.Fatal(len(nodes), diags)
		}
		for _, n := range nodes {
			p, err := n.Bind(nil)
			if err != nil {
				t.Fatal(err)
			}
			params[i] = append(params[i], fmt.Sprintf("%s %+v", n.Address, p))
		}
	}
	if fmt.Sprint(params[0]) != fmt.Sprint(params[1]) {
		t.Errorf("HCL gives\n%v\nJSON gives\n%v", params[0], params[1])
	}
	if got := json.variables[0]; got.typ.FriendlyName() != "list of string" || json.Variables()[0].Type != "list(string)" || !got.def.RawEquals(cty.ListVal([]cty.Value{cty.StringVal("a"), cty.StringVal("b")})) {
		t.Errorf("the variable is %+v", json.Variables()[0])
	}
}

// TestIterationsOfJSON holds that templates in JSON are counted too.
func TestIterationsOfJSON(t *testing.T) {
	_, diags := Load(context.Background(), Options{Path: "x.hcl.json", Dir: t.TempDir(), maxIterations: 10_000, Source: []byte(
		`{"locals": {"k": "${range(100)}", "a": "${[for x in local.k : [for y in local.k : [for z in local.k : z]]]}"}}`)})
	if len(diags) != 1 || diags[0].Summary != "Too many iterations" {
		t.Errorf("got %v", diags)
	}
}

func TestOverride(t *testing.T) {
	dir := project(t)
	f, diags := Load(context.Background(), Options{Dir: dir, Project: "test", Files: []Source{
		{Path: "a.override.hcl", Override: true, Bytes: []byte("locals { user = \"other\" }\nbottle \"b\" {\n  image = \"busybox:1\"\n}")},
		{Path: "bottles.hcl", Bytes: []byte(`
locals { user = "node" }
bottle "b" {
  backend = "container"
  export { path = "a.tar" }
  export { path = "b.tar" }
  machine {
    cpus = 2
    user = local.user
  }
}`)},
		{Path: "b.override.hcl.json", Override: true, Bytes: []byte(`{"bottle": {"b": {"export": {"path": "c.tar"}, "machine": {"user": "${local.user}"}}}}`)},
	}})
	if diags.HasErrors() {
		t.Fatal(render80(t, f, diags))
	}
	if m := machineOf(t, f); m.CPUs != 0 || m.User != "other" || m.Backend != "container" {
		t.Errorf("the machine is %+v", m)
	}
	nodes, _ := f.Nodes([]string{"bottle.b.export"})
	if len(nodes) != 2 {
		t.Fatalf("%d nodes", len(nodes))
	}
	image, _ := nodes[0].Bind(nil)
	export, _ := nodes[1].Bind(nil)
	if image.(tasks.Image).Ref != "busybox:1" || export.(tasks.Export).Path != dir+"/c.tar" {
		t.Errorf("got %+v, %+v", image, export)
	}
}

// TestSetInstance sets attributes of some instances only, whatever the order.
func TestSetInstance(t *testing.T) {
	const source = `
variable "many" { default = 7 }
bottle "b" {
  for_each = { "a/x" = 1, "a/y" = 2, b = 3 }
  image    = "alpine:3"
  machine {
    name = replace(each.key, "/", "-")
    cpus = each.value
    dynamic "port" {
      for_each = [each.value]
      content {
        host  = 80 + port.value
        guest = 80
      }
    }
  }
}`
	for _, c := range []struct {
		sets []string
		want string
	}{
		{[]string{`bottle.b["a/x"].machine.cpus=5`}, "5 2 3"},
		{[]string{"bottle.b[a/x].machine.cpus=var.many", "bottle.b[b].machine.cpus=each.value + 1"}, "7 2 4"},
		{[]string{"bottle.b[a/?].machine.cpus=5"}, "5 5 3"},
		{[]string{"*.b[b].machine.cpus=5", "bottle.b.machine.cpus=6"}, "6 6 5"},
		{[]string{"bottle.b[b].machine.cpus=5", "bottle.b[b].machine.cpus=6"}, "1 2 6"},
	} {
		f, diags := Load(context.Background(), Options{Path: "bottles.hcl", Dir: t.TempDir(), Source: []byte(source), Sets: c.sets})
		if diags.HasErrors() {
			t.Error(render80(t, f, diags))
			continue
		}
		var got []string
		for _, u := range f.units {
			if m, ok := u.res.params.(tasks.Machine); ok {
				got = append(got, strconv.Itoa(m.CPUs))
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%q: got %s, want %s", c.sets, s, c.want)
		}
	}
}
