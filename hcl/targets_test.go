package bottlefile

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const targetsSource = `
image "base" {}
image "agent" {
  for_each = toset(["claude", "codex"])
  contexts = { base = image.base }
}
bottle "agent" {
  for_each = image.agent
  image    = each.value
  push {
    registry   = registry.r
    repository = "x-${each.key}"
  }
  push {
    registry   = registry.r
    repository = "y-${each.key}"
  }
  machine {}
}
bottle "bare" { image = image.agent["codex"] }
bottle "ref" {
  image = "alpine:3"
  pack {}
}
registry "r" { embedded = true }
group "machines" { targets = [bottle.agent["claude"].machine, group.rest] }
group "rest" { targets = [bottle.ref, "group.machines"] }
group "none" { targets = [] }
`

func TestTargets(t *testing.T) {
	f := mustLoad(t, project(t), targetsSource)
	base, claude, codex := "image.base", `image.agent["claude"]`, `image.agent["codex"]`
	stages := func(key string, names ...string) []string {
		var as []string
		for _, n := range names {
			as = append(as, `bottle.agent["`+key+`"].`+n)
		}
		return as
	}
	all := func(key string) []string { return stages(key, "push[0]", "push[1]", "pack", "machine") }
	tests := []struct {
		targets []string
		want    []string
	}{
		{[]string{"image.base"}, []string{base}},
		{[]string{"base"}, []string{base}},
		{[]string{"image.agent"}, []string{base, claude, codex}},
		{[]string{claude}, []string{base, claude}},
		{[]string{"image.agent[claude]"}, []string{base, claude}},
		{[]string{"image.agent['claude']"}, []string{base, claude}},
		{[]string{`bottle.agent["claude"]`}, slices.Concat([]string{base, claude}, all("claude"))},
		{[]string{"agent[claude]"}, slices.Concat([]string{base, claude}, all("claude"))},
		{[]string{"agent"}, slices.Concat([]string{base, claude}, all("claude"), []string{codex}, all("codex"))},
		{[]string{"bottle.agent.machine"}, slices.Concat([]string{base, claude}, stages("claude", "pack", "machine"), []string{codex}, stages("codex", "pack", "machine"))},
		{[]string{"bottle.agent[codex].push[1]"}, slices.Concat([]string{base, codex}, stages("codex", "push[1]"))},
		{[]string{"bottle.agent[codex].push"}, slices.Concat([]string{base, codex}, stages("codex", "push[0]", "push[1]"))},
		{[]string{"bottle.*.push[0]"}, slices.Concat([]string{base, claude}, stages("claude", "push[0]"), []string{codex}, stages("codex", "push[0]"))},
		{[]string{"image.agent[c?dex]"}, []string{base, codex}},
		{[]string{"bottle.ref"}, []string{"bottle.ref.image", "bottle.ref.pack"}},
		{[]string{"bottle.bare"}, []string{base, codex}},
		{[]string{"machines"}, slices.Concat([]string{base, claude}, stages("claude", "pack", "machine"), []string{"bottle.ref.image", "bottle.ref.pack"})},
		{[]string{"group.none"}, nil},
		{[]string{"ref", "image.base"}, []string{base, "bottle.ref.image", "bottle.ref.pack"}},
	}
	for _, test := range tests {
		t.Run(strings.Join(test.targets, " "), func(t *testing.T) {
			nodes, diags := f.Nodes(test.targets)
			if diags.HasErrors() {
				t.Fatal(diags)
			}
			var got []string
			for _, n := range nodes {
				got = append(got, n.Address)
			}
			if d := cmp.Diff(test.want, got); d != "" {
				t.Errorf("nodes (-want +got):\n%s", d)
			}
		})
	}
}

func TestWithoutTargets(t *testing.T) {
	dir := project(t)
	count := func(source string) int {
		t.Helper()
		nodes, diags := mustLoad(t, dir, source).Nodes(nil)
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		return len(nodes)
	}
	if n := count(targetsSource); n != 13 {
		t.Errorf("without a default group there are %d nodes, not all 13", n)
	}
	if n := count(targetsSource + `group "default" { targets = [image.base] }`); n != 1 {
		t.Errorf("with a default group there are %d nodes, not its 1", n)
	}
}

func TestUnknownTargets(t *testing.T) {
	f := mustLoad(t, project(t), targetsSource)
	tests := map[string]string{
		"bottle.agnt":          `Did you mean "bottle.agent"?`,
		"imagebase":            `Did you mean "image.base"?`,
		"bse":                  `Did you mean "base"?`,
		"agent[cluade]":        `Did you mean "agent[claude]"?`,
		"machine":              `Did you mean "machines"?`,
		"bottle.agent.machin":  `Did you mean "bottle.agent.machine"?`,
		"bottle.agent.export":  `There is no target`,
		"bottle.x*":            `Nothing matches`,
		"completely-different": "There is: bottle.agent, bottle.bare, bottle.ref, group.machines, group.none, group.rest, image.agent, image.base.",
	}
	for target, want := range tests {
		nodes, diags := f.Nodes([]string{target, "image.base"})
		if len(nodes) > 0 || len(diags) != 1 || !strings.Contains(diags[0].Detail, want) {
			t.Errorf("%s: %d nodes and %v; want %q", target, len(nodes), diags, want)
		}
	}
}

func TestListings(t *testing.T) {
	f := mustLoad(t, project(t), targetsSource+`
variable "agents" {
  type        = map(object({ port = number, cpus = optional(number, 2) }))
  default     = { a = { port = 1 } }
  description = "The agents."
}
variable "secret" {
  default   = "hunter2"
  sensitive = true
}
locals { text = "${file("files/prompt.txt")}${file("./files/deep/a.txt")}" }
`)
	var addresses []string
	for _, target := range f.Targets() {
		addresses = append(addresses, target.Address)
	}
	want := []string{
		"image.base", `image.agent["claude"]`, `image.agent["codex"]`, `bottle.agent["claude"]`, `bottle.agent["codex"]`,
		"bottle.bare", "bottle.ref", "group.machines", "group.rest", "group.none",
	}
	if d := cmp.Diff(want, addresses); d != "" {
		t.Errorf("targets (-want +got):\n%s", d)
	}
	variables := []Variable{
		{Name: "agents", Type: "map(object({ port = number, cpus = optional(number, 2) }))", Description: "The agents.", Default: `{"a":{"cpus":2,"port":1}}`, Pos: "bottles.hcl:30"},
		{Name: "secret", Type: "any", Sensitive: true, Pos: "bottles.hcl:35"},
	}
	if d := cmp.Diff(variables, f.Variables()); d != "" {
		t.Errorf("variables (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"files/deep/a.txt", "files/prompt.txt"}, f.Inputs()); d != "" {
		t.Errorf("inputs (-want +got):\n%s", d)
	}
}
