package graph_test

import (
	"context"
	"fmt"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/graph"

	"pgregory.net/rapid"
)

// standing is a world in which the results of some nodes stand by themselves, as
// machines do: those decide, whatever the cache has.
type standing struct {
	*world
	has map[string]cache.Key // by address, of nodes that are so
}

func (w standing) Check(ctx context.Context, s graph.Spec, e *cache.Entry) (graph.Verdict, error) {
	w.mu.Lock()
	key, ok := w.has[s.Address]
	w.mu.Unlock()
	switch {
	case !ok:
		return w.world.Check(ctx, s, e)
	case key.IsZero():
		return graph.Verdict{Decision: graph.Run, Action: "create", Reasons: []graph.Reason{{Component: "world", Text: "there is none"}}}, nil
	case !s.Known:
		return graph.Verdict{Decision: graph.Maybe, Action: "replace", OfWorld: true}, nil
	case key != s.Key:
		return graph.Verdict{Decision: graph.Run, Action: "replace", OfWorld: true, Reasons: []graph.Reason{{Component: "world", Text: "it is another"}}}, nil
	}
	return graph.Verdict{Decision: graph.Hit, OfWorld: true, Output: cache.Output{Digest: cache.Digest(key)}}, nil
}

func (w standing) Execute(ctx context.Context, work graph.Work) (cache.Output, error) {
	out, err := w.world.Execute(ctx, work)
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.has[work.Address]; ok && err == nil {
		w.has[work.Address] = work.Key
		out.Digest = cache.Digest(work.Key)
	}
	return out, err
}

// TestPromiseHoldsWithoutACache draws edits, and caches that are lost with all
// that they knew of work that was done.
func TestPromiseHoldsWithoutACache(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := standing{&world{limit: 2}, map[string]cache.Key{}}
		r := newRunner(w.world)
		r.Worker, r.Executor = w, w
		build, n := dag(rt)
		edit := map[int]string{}
		for i := range n {
			if rapid.Bool().Draw(rt, "stands by itself") {
				w.has[fmt.Sprintf("n%d", i)] = cache.Key{}
				edit[i] = fmt.Sprint("only", i) // no other node does its work
			}
		}
		for range rapid.IntRange(1, 6).Draw(rt, "rounds") {
			i := rapid.IntRange(0, n-1).Draw(rt, "edited")
			switch rapid.IntRange(0, 2).Draw(rt, "what") {
			case 0:
				edit[i] += rapid.SampledFrom([]string{"x", "y"}).Draw(rt, "more")
			case 1:
				edit[i] += " " // does not reach the output
			case 2:
				r.Cache = newMemory()
			}
			p, err := r.Plan(t.Context(), build(edit))
			if err != nil {
				rt.Fatal(err)
			}
			said := snapshot(p)
			rep := r.Run(t.Context(), p)
			if rep.Err() != nil || w.problem != nil {
				rt.Fatal(rep.Err(), w.problem)
			}
			promise(rt, said, rep)
			for i, s := range said.Steps {
				if s.Action != "" && rep.Results[i].Status == graph.Ran && rep.Results[i].Action != s.Action {
					rt.Fatalf("%v: the plan said %s, and the run did %s", s, s.Action, rep.Results[i].Action)
				}
			}
		}
	})
}
