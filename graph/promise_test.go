package graph_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/graph"

	"pgregory.net/rapid"
)

// kept says of each step what the plan promised, before a run refines it.
type kept map[string]graph.Decision

func keep(p *graph.Plan) kept {
	k := kept{}
	for _, s := range p.Steps {
		k[s.Node.Address] = s.Decision
	}
	return k
}

// within checks that nothing ran but what the plan said would or might, and that
// of what it said would run only that did not which failed, or depends on such.
func (k kept) within(t *rapid.T, w *world, rep *graph.Report) {
	t.Helper()
	for _, a := range w.ran {
		if k[a] == graph.Hit {
			t.Fatalf("%s ran, which the plan said is a hit", a)
		}
	}
	for _, res := range rep.Results {
		if k[res.Node.Address] == graph.Run && res.Status == graph.Cached {
			t.Fatalf("%s did not run, which the plan said will", res.Node.Address)
		}
	}
}

func (w *world) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ran = nil
}

// TestPromiseHoldsWhateverHappens draws edits, evictions, losses, forced nodes,
// failing nodes and selections, round after round.
func TestPromiseHoldsWhateverHappens(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{limit: int32(rapid.IntRange(1, 4).Draw(rt, "jobs")), lost: map[cache.Key]bool{}, broken: map[string]bool{}}
		r := newRunner(w)
		r.KeepGoing = true
		store := r.Cache.(*memory)
		build, n := dag(rt)
		node := func(what string) int { return rapid.IntRange(0, n-1).Draw(rt, what) }
		edit := map[int]string{}
		for range rapid.IntRange(1, 8).Draw(rt, "rounds") {
			force := map[string]bool{}
			clear(w.broken)
			for range rapid.IntRange(0, 4).Draw(rt, "events") {
				switch rapid.IntRange(0, 5).Draw(rt, "what") {
				case 0:
					edit[node("edited")] = rapid.SampledFrom([]string{"a", "b", "x", "y"}).Draw(rt, "to")
				case 1: // an edit that does not reach the output
					edit[node("edited")] = rapid.SampledFrom([]string{"a ", " a", "b "}).Draw(rt, "to")
				case 2:
					store.evict(rapid.IntRange(0, 100).Draw(rt, "evicted"))
				case 3:
					if k, ok := store.pick(rapid.IntRange(0, 100).Draw(rt, "lost")); ok {
						w.lost[k] = true
					}
				case 4:
					force[fmt.Sprintf("n%d", node("forced"))] = true
				case 5:
					w.broken[fmt.Sprintf("n%d", node("broken"))] = true
				}
			}
			nodes := build(edit)
			if rapid.Bool().Draw(rt, "selected") {
				nodes = nodes[:rapid.IntRange(1, n).Draw(rt, "first")]
			}
			r.Force = func(n *graph.Node) bool { return force[n.Address] }
			w.forget()
			p, err := r.Plan(t.Context(), nodes)
			if err != nil {
				rt.Fatal(err)
			}
			said := keep(p)
			forecastHolds(rt, r, p)
			rep := r.Run(t.Context(), p)
			if w.problem != nil {
				rt.Fatal(w.problem)
			}
			said.within(rt, w, rep)
			for a := range force {
				if d, ok := said[a]; ok && d != graph.Run && !sharedWork(p, a) {
					rt.Fatalf("%s is forced, and the plan says %s", a, d)
				}
			}
			if len(w.broken) > 0 || rep.Err() != nil {
				continue
			}
			// A second run finds nothing to do.
			r.Force = nil
			w.forget()
			p, err = r.Plan(t.Context(), build(edit)[:len(nodes)])
			if err != nil {
				rt.Fatal(err)
			}
			if run, maybe := p.Work(); run+maybe > 0 {
				rt.Fatalf("a second plan has work: %v", p.Steps)
			}
			if r.Run(t.Context(), p); len(w.ran) > 0 {
				rt.Fatalf("a second run did %v", w.ran)
			}
		}
	})
}

// sharedWork reports whether another step does the work of the one at address.
func sharedWork(p *graph.Plan, address string) bool {
	return slices.ContainsFunc(p.Steps, func(s *graph.Step) bool { return s.Node.Address == address && s.SameAs != nil })
}

// forecastHolds checks what must be true of any forecast.
func forecastHolds(t *rapid.T, r *graph.Runner, p *graph.Plan) {
	for i, s := range p.Steps {
		if s.Decision != graph.Hit {
			s.Estimate.Seconds = float64(i%5) + 1
		}
	}
	f := r.Forecast(p)
	if f.Chain > f.Elapsed || f.Elapsed > f.Work {
		t.Fatalf("chain %v, elapsed %v, work %v", f.Chain, f.Elapsed, f.Work)
	}
	if least := f.Work / 4; f.Elapsed < least {
		t.Fatalf("%v of work is done in %v by at most 4", f.Work, f.Elapsed)
	}
	for _, s := range f.Critical {
		f.Chain -= secondsOf(s)
	}
	if f.Chain != 0 {
		t.Fatalf("the critical steps do not take what the chain does: %v is left", f.Chain)
	}
}

func TestEditsThatCancelOutGiveHits(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{limit: 2}
		r := newRunner(w)
		build, n := dag(rt)
		run := func(edit map[int]string) {
			p, err := r.Plan(t.Context(), build(edit))
			if err != nil {
				rt.Fatal(err)
			}
			if err := r.Run(t.Context(), p).Err(); err != nil {
				rt.Fatal(err)
			}
		}
		run(nil)
		edit := map[int]string{}
		for range rapid.IntRange(1, 5).Draw(rt, "edits") {
			edit[rapid.IntRange(0, n-1).Draw(rt, "node")] = rapid.SampledFrom([]string{"x", "y", "a "}).Draw(rt, "to")
			if rapid.Bool().Draw(rt, "run between") {
				run(edit)
			}
		}
		p, err := r.Plan(t.Context(), build(nil))
		if err != nil {
			rt.Fatal(err)
		}
		if a, b := p.Work(); a+b > 0 {
			rt.Fatalf("what was undone has work: %v", p.Steps)
		}
	})
}

// TestASavedPlanDeviatesExactlyIfSomethingHasChanged holds promises against
// later plans.
func TestASavedPlanDeviatesExactlyIfSomethingHasChanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &world{limit: 2, lost: map[cache.Key]bool{}}
		r := newRunner(w)
		build, n := dag(rt)
		plan := func(edit map[int]string) *graph.Plan {
			p, err := r.Plan(t.Context(), build(edit))
			if err != nil {
				rt.Fatal(err)
			}
			return p
		}
		if rapid.Bool().Draw(rt, "run before") {
			if err := r.Run(t.Context(), plan(nil)).Err(); err != nil {
				rt.Fatal(err)
			}
		}
		saved := plan(nil).Promises()
		deviations := func(edit map[int]string) []graph.Deviation {
			return r.Deviations(t.Context(), plan(edit), saved)
		}
		if d := deviations(nil); len(d) > 0 {
			rt.Fatalf("nothing has changed, and it deviates: %+v", d)
		}
		at := rapid.IntRange(0, n-1).Draw(rt, "node")
		address := fmt.Sprintf("n%d", at)
		d := deviations(map[int]string{at: "other"})
		if len(d) != 1 || d[0].Address != address || len(d[0].Reasons) == 0 || d[0].Reasons[0].Component != "source" {
			rt.Fatalf("%s was edited, and deviations are %+v", address, d)
		}
		if run, maybe := plan(nil).Work(); run+maybe == 0 { // all was built: lose one
			for _, s := range plan(nil).Steps {
				if s.Node.Address == address {
					w.lost[s.Key] = true
				}
			}
			d := deviations(nil)
			if !slices.ContainsFunc(d, func(d graph.Deviation) bool {
				return strings.Contains(d.Text, "up to date and is to run")
			}) {
				rt.Fatalf("%s was lost, and deviations are %+v", address, d)
			}
		}
		if d := r.Deviations(t.Context(), plan(nil), saved[:n-1]); n > 1 && !slices.ContainsFunc(d, func(d graph.Deviation) bool { return d.Text == "is new" || len(d.Reasons) > 0 }) {
			rt.Fatalf("a node that was not saved: %+v", d)
		}
	})
}

// evict drops an entry, if there is any.
func (m *memory) evict(i int) {
	if k, ok := m.pick(i); ok {
		delete(m.entries, k)
	}
}

// pick returns the i-th key, counted round and round.
func (m *memory) pick(i int) (cache.Key, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	keys := slices.SortedFunc(maps.Keys(m.entries), func(a, b cache.Key) int { return strings.Compare(a.Hex(), b.Hex()) })
	if len(keys) == 0 {
		return cache.Key{}, false
	}
	return keys[i%len(keys)], true
}
