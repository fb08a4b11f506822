package bottlefile

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// manyBottles is a file with n images and n bottles from one for_each.
func manyBottles(t testing.TB, dir string, n int) string {
	t.Helper()
	source, err := os.ReadFile("testdata/valid/design.hcl")
	if err != nil {
		t.Fatal(err)
	}
	var agents strings.Builder
	for i := range n {
		fmt.Fprintf(&agents, "    a%d = { role = %q, port = %d }\n", i, []string{"openai", "anthropic"}[i%2], 10000+i)
		if err := os.MkdirAll(filepath.Join(dir, "images", fmt.Sprintf("a%d", i)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "images", fmt.Sprintf("a%d", i), "Dockerfile"), []byte("FROM base\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	one := "    claude = { role = \"anthropic\", port = 8081 }\n    codex  = { role = \"openai\", port = 8082, cpus = 4 }\n"
	many := strings.Replace(string(source), one, agents.String(), 1)
	if many == string(source) {
		t.Fatal("design.hcl has no agents to replace")
	}
	return many
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("bottles=%d", n), func(b *testing.B) {
			dir := project(b)
			source := manyBottles(b, dir, n)
			b.ReportAllocs()
			for b.Loop() {
				f := mustLoad(b, dir, source)
				if nodes, diags := f.Nodes(nil); diags.HasErrors() || len(nodes) != 1+5*n {
					b.Fatal(len(nodes), diags)
				}
			}
		})
	}
}

func BenchmarkBindLate(b *testing.B) {
	dir := project(b)
	source := manyBottles(b, dir, 1000)
	source = strings.Replace(source, `"You are …"`, `"You are …${image.agent[each.key].digest}"`, 1)
	f := mustLoad(b, dir, source)
	nodes, _ := f.Nodes([]string{"bottle.agent.machine"})
	n := nodes[len(nodes)-1]
	b.ReportAllocs()
	for b.Loop() {
		if _, err := n.Bind(outputsFor(n)); err != nil {
			b.Fatal(err)
		}
	}
}
