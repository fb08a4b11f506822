package bottlefile

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// fakeOutput is what the node at an address yields in these tests.
func fakeOutput(address string) cache.Output {
	return cache.Output{
		Digest: cache.DigestOf([]byte(address)),
		Attrs:  map[string]string{"config": "config of " + address, "ref": "ref of " + address, "path": "path of " + address},
	}
}

func outputsFor(n *graph.Node) graph.Inputs {
	in := graph.Inputs{}
	for _, d := range n.Deps {
		in[d.Address] = fakeOutput(d.Address)
	}
	return in
}

func deps(n *graph.Node) []string {
	var as []string
	for _, d := range n.Deps {
		as = append(as, d.Address)
	}
	slices.Sort(as)
	return as
}

func node(t *testing.T, f *File, address string) *graph.Node {
	t.Helper()
	nodes, diags := f.Nodes([]string{address})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	for _, n := range nodes {
		if n.Address == address {
			return n
		}
	}
	t.Fatalf("no node %s", address)
	return nil
}

const lateSource = `
locals {
  base_digest = image.base.digest
  shout       = upper(local.base_digest)
  ids         = { for k, i in image.agent : k => i.id }
}
image "base" {
  context = "images/base"
}
image "agent" {
  for_each = toset(["claude", "codex"])
  context  = "images/${each.key}"
  args     = { BASE = local.shout, KEY = each.key }
}
image "picked" {
  for_each = { a = image.agent["claude"].digest, b = "fixed" }
  labels   = { of = each.value }
}
bottle "agent" {
  for_each = image.agent
  image    = each.value
  push {
    registry   = registry.here
    repository = "agent-${each.key}"
    tags       = [substr(each.value.digest, 7, 12)]
  }
  export { path = "out/${local.ids[each.key]}.tar" }
  pack {}
  machine {}
}
bottle "other" {
  image = bottle.agent["codex"].push[0].ref
  pack {}
  machine {
    name = "other"
    env = {
      PACK = bottle.agent["claude"].pack.digest
      PEER = bottle.agent["codex"].machine.name
      PATH_OF = bottle.agent["codex"].export[0].path
    }
  }
}
registry "here" { embedded = true }
output "all" { value = { for k, b in bottle.agent : k => b.pack.digest } }
output "peer" { value = bottle.agent["codex"].machine.name }
output "hidden" {
  value     = sensitive(image.base.digest)
  sensitive = true
}
output "image" { value = image.base }
`

func TestLateBinding(t *testing.T) {
	f := mustLoad(t, project(t), lateSource)
	digest := func(a string) string { return fakeOutput(a).Digest.String() }
	claude, codex := `image.agent["claude"]`, `image.agent["codex"]`
	tests := []struct {
		address string
		deps    []string
		late    bool
		check   func(p graph.Params) (got, want any)
	}{
		{"image.base", nil, false, nil},
		{claude, []string{"image.base"}, true, func(p graph.Params) (any, any) {
			return p.(tasks.Image).Args, map[string]string{"BASE": strings.ToUpper(digest("image.base")), "KEY": "claude"}
		}},
		{`image.picked["a"]`, []string{claude}, true, func(p graph.Params) (any, any) {
			return p.(tasks.Image).Labels["of"], digest(claude)
		}},
		{`image.picked["b"]`, nil, false, func(p graph.Params) (any, any) { return p.(tasks.Image).Labels["of"], "fixed" }},
		{`bottle.agent["codex"].push[0]`, []string{codex}, true, func(p graph.Params) (any, any) {
			return p.(tasks.Push).Tags, []string{digest(codex)[7:19]}
		}},
		{`bottle.agent["codex"].export[0]`, []string{codex}, true, func(p graph.Params) (any, any) {
			return strings.HasSuffix(p.(tasks.Export).Path, "/out/config of "+codex+".tar"), true
		}},
		{`bottle.agent["codex"].machine`, []string{`bottle.agent["codex"].pack`}, false, func(p graph.Params) (any, any) {
			return p.(tasks.Machine).Name, "agent-codex"
		}},
		{"bottle.other.image", []string{`bottle.agent["codex"].push[0]`}, true, func(p graph.Params) (any, any) {
			return p.(tasks.Image).Ref, "docker.io/library/x@" + digest("x")
		}},
		{"bottle.other.machine", []string{
			`bottle.agent["claude"].pack`, `bottle.agent["codex"].export[0]`, `bottle.agent["codex"].machine`, "bottle.other.pack",
		}, true, func(p graph.Params) (any, any) {
			return p.(tasks.Machine).Env, map[string]string{
				"PACK": digest(`bottle.agent["claude"].pack`), "PEER": "agent-codex", "PATH_OF": `path of bottle.agent["codex"].export[0]`,
			}
		}},
	}
	for _, test := range tests {
		t.Run(test.address, func(t *testing.T) {
			n := node(t, f, test.address)
			if d := cmp.Diff(test.deps, deps(n)); d != "" {
				t.Errorf("dependencies (-want +got):\n%s", d)
			}
			_, err := n.Bind(nil)
			if test.late != errors.Is(err, graph.ErrUnknown) {
				t.Errorf("Bind without outputs returned %v", err)
			}
			in := outputsFor(n)
			if test.address == "bottle.other.image" {
				o := in[`bottle.agent["codex"].push[0]`]
				o.Attrs = map[string]string{"ref": "docker.io/library/x@" + digest("x")}
				in[`bottle.agent["codex"].push[0]`] = o
			}
			p, err := n.Bind(in)
			if err != nil {
				t.Fatal(err)
			}
			if test.check != nil {
				got, want := test.check(p)
				if d := cmp.Diff(want, got); d != "" {
					t.Errorf("parameters (-want +got):\n%s", d)
				}
			}
		})
	}
}

func TestBindChecksWhatIsKnownLate(t *testing.T) {
	f := mustLoad(t, project(t), `
image "base" {}
bottle "b" {
  image = image.base
  push {
    registry   = registry.r
    repository = "b"
    tags       = [image.base.id]
  }
}
registry "r" { embedded = true }
`)
	n := node(t, f, "bottle.b.push[0]")
	_, err := n.Bind(outputsFor(n)) // "config of image.base" has spaces
	if err == nil || !strings.Contains(err.Error(), "Invalid tag") || !strings.Contains(err.Error(), "bind bottle.b.push[0]") {
		t.Errorf("got %v", err)
	}
}

func TestBindIsSafeForConcurrentUse(t *testing.T) {
	f := mustLoad(t, project(t), lateSource)
	nodes, diags := f.Nodes(nil)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	var wg sync.WaitGroup
	for range 4 {
		for _, n := range nodes {
			wg.Go(func() {
				if n.Address == "bottle.other.image" {
					return // its fake reference is not valid
				}
				if _, err := n.Bind(outputsFor(n)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			if _, diags := f.Outputs(nil); diags.HasErrors() {
				t.Error(diags)
			}
		})
	}
	wg.Wait()
}

func TestOutputs(t *testing.T) {
	f := mustLoad(t, project(t), lateSource)
	got := func(in graph.Inputs) map[string]string {
		t.Helper()
		values, diags := f.Outputs(in)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		m := map[string]string{}
		for k, v := range values {
			if !json.Valid(v) {
				t.Errorf("%s is no JSON: %s", k, v)
			}
			m[k] = string(v)
		}
		return m
	}
	claude, codex := `bottle.agent["claude"].pack`, `bottle.agent["codex"].pack`
	if d := cmp.Diff(map[string]string{"peer": `"agent-codex"`}, got(graph.Inputs{claude: fakeOutput(claude)})); d != "" {
		t.Errorf("with one pack (-want +got):\n%s", d)
	}
	want := map[string]string{
		"peer":   `"agent-codex"`,
		"all":    `{"claude":"` + fakeOutput(claude).Digest.String() + `","codex":"` + fakeOutput(codex).Digest.String() + `"}`,
		"hidden": `"(sensitive value)"`,
		"image":  `{"digest":"` + fakeOutput("image.base").Digest.String() + `","id":"config of image.base"}`,
	}
	all := graph.Inputs{claude: fakeOutput(claude), codex: fakeOutput(codex), "image.base": fakeOutput("image.base")}
	if d := cmp.Diff(want, got(all)); d != "" {
		t.Errorf("with all (-want +got):\n%s", d)
	}
}
