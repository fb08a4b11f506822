package graph_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// folder is a world whose nodes read files: the source is "NAME=CONTENT …". Their
// recipe says of all of them in one component that they are others.
type folder struct{ *world }

func (f folder) Describe(_ context.Context, s graph.Spec, r *cache.Recipe) error {
	for _, field := range strings.Fields(s.Params.(job).Source) {
		if name, value, _ := strings.Cut(field, "="); strings.HasPrefix(name, "arg") {
			r.Add(name, value)
		}
	}
	r.Add("context", s.Params.(job).Source)
	return nil
}

func (f folder) Explain(_ context.Context, s graph.Spec) func(cache.Change) []graph.Reason {
	return func(c cache.Change) (reasons []graph.Reason) {
		if c.Component != "context" {
			return nil
		}
		before := strings.Fields(c.Before)
		for _, field := range strings.Fields(c.After) {
			if !slices.Contains(before, field) {
				name, _, _ := strings.Cut(field, "=")
				reasons = append(reasons, graph.Reason{Component: name})
			}
		}
		return reasons
	}
}

// TestReasonsCompareWithTheNearest builds sources one after the other and plans
// another.
func TestReasonsCompareWithTheNearest(t *testing.T) {
	for name, c := range map[string]struct {
		built    []string
		evicted  []int // of built
		wanted   string
		want     []string // components that differ
		compared int      // of built
	}{
		"the latest":                    {built: []string{"a=1 b=1"}, wanted: "a=2 b=1", want: []string{"a"}},
		"back, and then another":        {built: []string{"a=1 b=1 c=1", "a=2 b=2 c=2", "a=1 b=1 c=1"}, wanted: "a=1 b=1 c=9", want: []string{"c"}},
		"fewer files":                   {built: []string{"a=1 b=1 c=1", "a=2 b=2 c=1"}, wanted: "a=1 b=9 c=1", want: []string{"b"}},
		"fewer components, more files":  {built: []string{"a=1 b=1 arg=1", "a=2 b=2 arg=2"}, wanted: "a=2 b=1 arg=1", want: []string{"a"}},
		"as near: the newer":            {built: []string{"a=1", "a=2"}, wanted: "a=3", want: []string{"a"}, compared: 1},
		"the nearer one is gone":        {built: []string{"a=1 b=1 c=1", "a=2 b=2 c=2"}, evicted: []int{0}, wanted: "a=1 b=1 c=9", want: []string{"a", "b", "c"}, compared: 1},
		"the latest is gone":            {built: []string{"a=1 b=1 c=1", "a=2 b=2 c=2"}, evicted: []int{1}, wanted: "a=2 b=2 c=9", want: []string{"a", "b", "c"}},
		"all are gone":                  {built: []string{"a=1", "a=2"}, evicted: []int{0, 1}, wanted: "a=3", want: []string{"cache"}, compared: -1},
		"it was there before, and went": {built: []string{"a=1", "a=2"}, evicted: []int{0}, wanted: "a=1", want: []string{"cache"}, compared: -1},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{}
			r := newRunner(w)
			r.Worker = folder{w}
			plan := func(source string) *graph.Plan {
				t.Helper()
				p, err := r.Plan(t.Context(), []*graph.Node{node("n", source)})
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			var keys []cache.Key
			for _, source := range c.built {
				p := plan(source)
				if err := r.Run(t.Context(), p).Err(); err != nil {
					t.Fatal(err)
				}
				keys = append(keys, p.Steps[0].Key)
			}
			for _, i := range c.evicted {
				delete(r.Cache.(*memory).entries, keys[i])
			}
			s := plan(c.wanted).Steps[0]
			var got []string
			for _, reason := range s.Reasons {
				got = append(got, reason.Component)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			want := cache.Key{}
			if c.compared >= 0 {
				want = keys[c.compared]
			}
			if s.Compared != want {
				t.Errorf("compared with %s, want %s", s.Compared, want)
			}
		})
	}
}
