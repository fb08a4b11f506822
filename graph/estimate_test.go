package graph_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// TestEstimatesAreOfTheSameAction has a node that amounts to one of several
// actions, with what the cache has of it and what else is known of the past.
func TestEstimatesAreOfTheSameAction(t *testing.T) {
	past := map[string]graph.Estimate{
		"":       {Seconds: 3, Typical: true},
		"start":  {Seconds: 1, Typical: true},
		"create": {Seconds: 20},
	}
	for name, c := range map[string]struct {
		entry   string // the action of what the cache has, which took 5 s; "-": it has nothing
		verdict graph.Verdict
		want    graph.Estimate
	}{
		"of a kind with one":        {"", graph.Verdict{}, graph.Estimate{Seconds: 5, Bytes: 7}},
		"of a kind with one, new":   {"-", graph.Verdict{}, past[""]},
		"the same":                  {"start", graph.Verdict{Action: "start"}, graph.Estimate{Seconds: 5, Bytes: 7}},
		"another":                   {"start", graph.Verdict{Action: "create"}, past["create"]},
		"alike":                     {"replace", graph.Verdict{Action: "create"}, graph.Estimate{Seconds: 5, Bytes: 7}},
		"the other way round":       {"create", graph.Verdict{Action: "start"}, past["start"]},
		"not known":                 {"create", graph.Verdict{Action: "update"}, graph.Estimate{}},
		"one of two":                {"-", graph.Verdict{Actions: []string{"start", "create"}}, past["create"]},
		"one of two, one not known": {"-", graph.Verdict{Actions: []string{"update", "start"}}, past["start"]},
		"of one not recorded":       {"", graph.Verdict{Action: "update"}, graph.Estimate{}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(&world{})
			r.Worker = verdictFunc{&world{}, func() graph.Verdict { c.verdict.Decision = graph.Run; return c.verdict }}
			r.Alike = func(action string) []string {
				if action == "create" {
					return []string{"create", "replace"}
				}
				return []string{action}
			}
			r.Past = func(n *graph.Node, actions ...string) graph.Estimate { return past[actions[0]] }
			if c.entry != "-" {
				e := &cache.Entry{Key: cache.Key{1}, Kind: "job", Action: c.entry, Address: "a", Seconds: 5, Bytes: 7}
				if err := r.Cache.Put(e); err != nil {
					t.Fatal(err)
				}
				if err := r.Cache.SetLatest(r.Scope, "a", e.Key); err != nil {
					t.Fatal(err)
				}
			}
			p, err := r.Plan(t.Context(), []*graph.Node{node("a", "1")})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, p.Steps[0].Estimate); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What a run did is what its entry says.
func TestEntriesTellTheAction(t *testing.T) {
	w := &world{}
	r := newRunner(w)
	r.Worker = verdictFunc{w, func() graph.Verdict { return graph.Verdict{Decision: graph.Run, Action: "create"} }}
	p, err := r.Plan(t.Context(), []*graph.Node{node("a", "1")})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Run(t.Context(), p).Err(); err != nil {
		t.Fatal(err)
	}
	if e, err := r.Cache.Get(p.Steps[0].Key); err != nil || e.Action != "create" {
		t.Errorf("%+v, %v", e, err)
	}
}

// verdictFunc is a world that decides otherwise.
type verdictFunc struct {
	*world
	verdict func() graph.Verdict
}

func (v verdictFunc) Check(context.Context, graph.Spec, *cache.Entry) (graph.Verdict, error) {
	return v.verdict(), nil
}
