package graph_test

import (
	"testing"
	"time"

	"bottlebuild/graph"
)

func secondsOf(s *graph.Step) time.Duration {
	return time.Duration(s.Estimate.Seconds * float64(time.Second))
}

// chainAndLeaf is a → b → c, and d by itself.
func chainAndLeaf(t *testing.T, r *graph.Runner, seconds ...float64) *graph.Plan {
	t.Helper()
	a := node("a", "1")
	b := node("b", "2", a)
	c := node("c", "3", b)
	d := node("d", "4")
	p, err := r.Plan(t.Context(), []*graph.Node{a, b, c, d})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range p.Steps {
		s.Estimate.Seconds = seconds[i]
	}
	return p
}

func TestForecast(t *testing.T) {
	for name, c := range map[string]struct {
		jobs, memory   int
		cost           func(graph.Spec) graph.Cost
		seconds        []float64
		elapsed, chain time.Duration
		critical       int
		unknown        int
	}{
		"one job":            {jobs: 1, seconds: []float64{1, 2, 3, 4}, elapsed: 10 * time.Second, chain: 6 * time.Second, critical: 3},
		"two jobs":           {jobs: 2, seconds: []float64{1, 2, 3, 4}, elapsed: 6 * time.Second, chain: 6 * time.Second, critical: 3},
		"a long leaf":        {jobs: 2, seconds: []float64{1, 2, 3, 9}, elapsed: 9 * time.Second, chain: 9 * time.Second, critical: 1},
		"nothing known":      {jobs: 2, seconds: []float64{0, 0, 0, 0}, unknown: 4},
		"something unknown":  {jobs: 2, seconds: []float64{1, 0, 3, 4}, elapsed: 4 * time.Second, chain: 4 * time.Second, critical: 3, unknown: 1},
		"everything at once": {jobs: 4, cost: func(graph.Spec) graph.Cost { return graph.Cost{Slots: 4} }, seconds: []float64{1, 2, 3, 4}, elapsed: 10 * time.Second, chain: 6 * time.Second, critical: 3},
		"over all slots":     {jobs: 2, cost: func(graph.Spec) graph.Cost { return graph.Cost{Slots: 9} }, seconds: []float64{1, 1, 1, 1}, elapsed: 4 * time.Second, chain: 3 * time.Second, critical: 3},
		"memory for one":     {jobs: 4, memory: 10, cost: func(graph.Spec) graph.Cost { return graph.Cost{MemoryMiB: 8} }, seconds: []float64{1, 1, 1, 1}, elapsed: 4 * time.Second, chain: 3 * time.Second, critical: 3},
		"memory for none":    {jobs: 4, memory: 4, cost: func(graph.Spec) graph.Cost { return graph.Cost{MemoryMiB: 8} }, seconds: []float64{1, 1, 1, 1}, elapsed: 4 * time.Second, chain: 3 * time.Second, critical: 3},
		"memory for two":     {jobs: 4, memory: 16, cost: func(graph.Spec) graph.Cost { return graph.Cost{MemoryMiB: 8} }, seconds: []float64{1, 1, 1, 1}, elapsed: 3 * time.Second, chain: 3 * time.Second, critical: 3},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(&world{})
			r.Jobs, r.MemoryMiB, r.Cost = c.jobs, c.memory, c.cost
			f := r.Forecast(chainAndLeaf(t, r, c.seconds...))
			if f.Elapsed != c.elapsed || f.Chain != c.chain || len(f.Critical) != c.critical || f.Unknown != c.unknown {
				t.Errorf("elapsed %v, chain %v of %d, %d unknown; want %v, %v of %d, %d",
					f.Elapsed, f.Chain, len(f.Critical), f.Unknown, c.elapsed, c.chain, c.critical, c.unknown)
			}
		})
	}
}

func TestLongestRemainingPathStartsFirst(t *testing.T) {
	w := &world{}
	r := newRunner(w)
	p := chainAndLeaf(t, r, 1, 1, 1, 2)
	if err := r.Run(t.Context(), p).Err(); err != nil {
		t.Fatal(err)
	}
	if w.ran[0] != "a" {
		t.Errorf("order %v, and a has the longest path", w.ran)
	}
	w = &world{}
	r = newRunner(w)
	if err := r.Run(t.Context(), chainAndLeaf(t, r, 1, 1, 1, 9)).Err(); err != nil {
		t.Fatal(err)
	}
	if w.ran[0] != "d" {
		t.Errorf("order %v, and d has the longest path", w.ran)
	}
}
