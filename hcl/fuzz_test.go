package bottlefile

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// The fuzz targets hold that whatever is given, loading, binding, evaluating and
// reporting end without a panic, and that a file with errors has no nodes.

// seeds adds what the fixtures have: want says which of their files.
func seeds(f *testing.F, want func(name string) bool, add func(data []byte)) {
	f.Helper()
	n := 0
	for _, pattern := range []string{"testdata/valid/*.hcl", "testdata/invalid/*.hcl", "testdata/invalid/*.txtar"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			files := []txtar.File{{Name: "bottles.hcl", Data: b}}
			if strings.HasSuffix(p, ".txtar") {
				files = txtar.Parse(b).Files
			}
			for _, file := range files {
				if want(file.Name) {
					add(file.Data)
					n++
				}
			}
		}
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
}

// exercise loads files and does all that can be done with the result.
func exercise(t *testing.T, o Options) {
	o.maxIterations = 10_000
	file, diags := Load(context.Background(), o)
	nodes, _ := file.Nodes(nil)
	if diags.HasErrors() && len(nodes) > 0 {
		t.Error("nodes of a file with errors")
	}
	for _, n := range nodes {
		if _, err := n.Bind(outputsFor(n)); err != nil {
			t.Logf("%s: %v", n.Address, err) // what is known late may not be valid
		}
	}
	file.Outputs(nil)
	if err := WriteDiagnostics(&bytes.Buffer{}, file, diags, 80, true); err != nil {
		t.Error(err)
	}
}

func FuzzLoad(f *testing.F) {
	seeds(f, func(name string) bool { return strings.HasSuffix(name, ".hcl") && !strings.Contains(name, ".vars.") }, func(data []byte) { f.Add(data) })
	dir := project(f)
	f.Fuzz(func(t *testing.T, source []byte) {
		exercise(t, Options{Path: "f.hcl", Dir: dir, Source: source})
	})
}

func FuzzJSON(f *testing.F) {
	seeds(f, func(name string) bool { return strings.HasSuffix(name, ".hcl.json") }, func(data []byte) { f.Add(data) })
	f.Add([]byte(`{"image": {"a": {"context": "images/base", "args": {"A": "${1 + 1}"}}}, "bottle": [{"b": {"image": "${image.a}", "machine": {"dynamic": {"port": {"for_each": [1], "content": {"host": "${port.value}", "guest": 1}}}}}}]}`))
	dir := project(f)
	f.Fuzz(func(t *testing.T, source []byte) {
		exercise(t, Options{Path: "f.hcl.json", Dir: dir, Source: source})
	})
}

// fuzzBase is what overrides, values and settings are given to.
const fuzzBase = `
variable "n" {
  type    = object({ a = optional(number, 1), b = optional(list(string), ["x"]) })
  default = {}
}
variable "s" {
  default   = "secret"
  sensitive = true
}
locals { keys = toset(var.n.b) }
image "a" {
  for_each = local.keys
  context  = "images/base"
  args     = { S = var.s, N = var.n.a }
}
bottle "b" {
  for_each = local.keys
  image    = image.a[each.key]
  machine {
    cpus = var.n.a
    file "/f" { content = each.key }
    port {
      host  = 80
      guest = 80
    }
  }
}
output "o" { value = [for b in bottle.b : b.pack.digest] }
`

func FuzzOverride(f *testing.F) {
	seeds(f, func(name string) bool { return strings.HasSuffix(name, ".hcl") && !strings.Contains(name, ".vars.") }, func(data []byte) { f.Add(data) })
	f.Add([]byte("bottle \"b\" {\n machine {\n cpus = 2\n }\n}\nlocals { keys = [\"a\"] }\nvariable \"n\" { default = null }\n"))
	dir := project(f)
	f.Fuzz(func(t *testing.T, source []byte) {
		exercise(t, Options{Dir: dir, Files: []Source{
			{Path: "f.hcl", Bytes: []byte(fuzzBase)}, {Path: "f.override.hcl", Bytes: source, Override: true},
		}})
	})
}

func FuzzVarFile(f *testing.F) {
	seeds(f, func(name string) bool { return strings.Contains(name, ".vars.") }, func(data []byte) { f.Add(data, "1") })
	f.Add([]byte("n = { a = 2, b = [\"y\"] }\ns = 1\n"), "{ a = 1 }")
	f.Add([]byte(`{"n": {"a": "2"}, "s": null}`), `{"b": ["x"]}`)
	dir := project(f)
	f.Fuzz(func(t *testing.T, source []byte, value string) {
		exercise(t, Options{
			Path: "f.hcl", Source: []byte(fuzzBase), Dir: dir, VarFiles: []Source{{Path: "f.vars.hcl", Bytes: source}},
			Vars: map[string]Var{"n": {Value: value, Origin: "--var"}},
		})
	})
}

func FuzzSet(f *testing.F) {
	for _, s := range []string{
		"bottle.*.machine.cpus=2", "image.a.args={}", "image.a[x].args={ A = image.a }", `bottle.b["x"].machine.file["/f"].content=1`,
		"bottle.b.machine.port[0].host=81", "bottle.b.image=docker.io/library/node:22", "image.?.target=${", "x", "=", "image.a.labels={a=1}=2",
	} {
		f.Add(s)
	}
	dir := project(f)
	f.Fuzz(func(t *testing.T, set string) {
		exercise(t, Options{Path: "f.hcl", Source: []byte(fuzzBase), Dir: dir, Sets: []string{set}})
	})
}

func FuzzEval(f *testing.F) {
	for name, d := range functionDocs() {
		if name != "range" {
			f.Add(d.example)
		}
	}
	f.Add("image.a")
	f.Add("{ for k, b in bottle.b : k => b.machine.name }")
	f.Add("[var.s, local.keys, cidrsubnet(\"10.0.0.0/8\", 8, 1)]")
	file := mustLoad(f, project(f), fuzzBase)
	f.Fuzz(func(t *testing.T, source string) {
		e, shown, diags := file.Eval(source)
		if err := WriteDiagnostics(&bytes.Buffer{}, shown, diags, 80, false); err != nil {
			t.Error(err)
		}
		if diags.HasErrors() != (e.Type == "") {
			t.Errorf("%+v, %v", e, diags)
		}
	})
}
