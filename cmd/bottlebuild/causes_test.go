package main

import (
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// TestDocHasTheCauses holds the vocabulary in docs/plan.md against the constants.
func TestDocHasTheCauses(t *testing.T) {
	b, err := os.ReadFile("../../docs/plan.md")
	if err != nil {
		t.Fatal(err)
	}
	var want, got []string
	seen := map[graph.Cause]bool{}
	for _, m := range slices.Concat(graph.Causes(), tasks.Causes()) {
		if seen[m.Cause] {
			t.Errorf("the cause %s stands twice", m.Cause)
		}
		seen[m.Cause] = true
		want = append(want, "| `"+string(m.Cause)+"` | "+m.Text+" |")
	}
	section := regexp.MustCompile(`(?s)## Causes\n.*?\n## `).Find(b)
	for _, line := range regexp.MustCompile("(?m)^\\| `.*$").FindAll(section, -1) {
		got = append(got, string(line))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("docs/plan.md does not list the causes as they are (-constants +docs):\n%s", diff)
	}
}
