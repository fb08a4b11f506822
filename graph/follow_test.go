package graph_test

import (
	"testing"

	"bottlebuild/cache"
	"bottlebuild/graph"

	"github.com/google/go-cmp/cmp"
)

// What a run had done before it had to be planned once more counts as done.
func TestAReportFollowsTheOneBefore(t *testing.T) {
	result := func(address string, status graph.Status, key byte) *graph.Result {
		return &graph.Result{Node: &graph.Node{Address: address}, Status: status, Key: cache.Key{key}}
	}
	earlier := &graph.Report{Results: []*graph.Result{
		result("done", graph.Ran, 1), result("done with another key", graph.Ran, 1), result("found", graph.Cached, 1), result("broke", graph.Failed, 1),
		result("done twice", graph.Ran, 1), result("in vain", graph.Ran, 1),
	}}
	later := &graph.Report{Results: []*graph.Result{
		result("done", graph.Cached, 1), result("done with another key", graph.Cached, 2), result("found", graph.Cached, 1), result("broke", graph.Ran, 1),
		result("done twice", graph.Ran, 1), result("in vain", graph.Skipped, 1), result("new", graph.Cached, 1),
	}}
	later.Follow(earlier)
	got := map[string]graph.Status{}
	for _, res := range later.Results {
		got[res.Node.Address] = res.Status
	}
	want := map[string]graph.Status{
		"done": graph.Ran, "done with another key": graph.Cached, "found": graph.Cached, "broke": graph.Ran,
		"done twice": graph.Ran, "in vain": graph.Skipped, "new": graph.Cached,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
