package graph_test

import (
	"testing"

	"bottlebuild/graph"

	"github.com/google/go-cmp/cmp"
)

// What a plan could only say of a dependency, a result says of what that has made.
func TestReasonsOfWhatWasDone(t *testing.T) {
	w := &world{broken: map[string]bool{}}
	r := newRunner(w)
	force := ""
	r.Force = func(n *graph.Node) bool { return n.Address == force }
	run := func(a, b string) (planned graph.Decision, causes []string) {
		t.Helper()
		first := node("a", a)
		p, err := r.Plan(t.Context(), []*graph.Node{first, node("b", b, first)})
		if err != nil {
			t.Fatal(err)
		}
		planned = p.Steps[1].Decision
		for _, reason := range r.Run(t.Context(), p).Results[1].Reasons {
			causes = append(causes, string(reason.Cause)+" "+reason.Component)
		}
		return planned, causes
	}
	for _, c := range []struct {
		name, a, b, force string
		broken            bool
		planned           graph.Decision
		causes            []string
	}{
		{"first", "1", "1", "", false, graph.Run, []string{"never-built history"}},
		{"nothing", "1", "1", "", false, graph.Hit, nil},
		{"edit of the dependency", "2", "1", "", false, graph.Maybe, []string{"changed dep0"}},
		{"edit that does not reach it", "2 ", "1", "", false, graph.Maybe, nil},
		{"edits of both", "3", "3", "", false, graph.Run, []string{"changed dep0", "changed source"}},
		{"forced", "4", "3", "b", false, graph.Run, []string{"forced force"}},
		{"failed", "5", "3", "", true, graph.Maybe, []string{"changed dep0"}},
		{"tried again", "5", "3", "", false, graph.Run, []string{"changed dep0"}},
	} {
		w.broken["b"], force = c.broken, c.force
		planned, causes := run(c.a, c.b)
		if diff := cmp.Diff(c.causes, causes); diff != "" || planned != c.planned {
			t.Errorf("%s: planned %s, and then\n%s", c.name, planned, diff)
		}
	}
}
