package graph_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// counted counts how often entries are asked for.
type counted struct {
	graph.Cache
	gets atomic.Int32
}

func (c *counted) Get(k cache.Key) (*cache.Entry, error) {
	c.gets.Add(1)
	return c.Cache.Get(k)
}

// Of steps with one key the cache is asked once, and so is the worker where it
// says that its verdict is of the key.
func TestAskedOnceAKey(t *testing.T) {
	const same = 20
	nodes := []*graph.Node{node("other", "b")}
	for i := range same {
		nodes = append(nodes, node(fmt.Sprintf("n%d", i), "a"))
	}
	w := &world{lost: map[cache.Key]bool{}}
	r := newRunner(w)
	c := &counted{Cache: r.Cache}
	r.Cache = c
	p, err := r.Plan(t.Context(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	if rep := r.Run(t.Context(), p); rep.Err() != nil {
		t.Fatal(rep.Err())
	}
	for _, ofKey := range []bool{false, true} {
		w.ofKey, w.checks = ofKey, 0
		c.gets.Store(0)
		p, err := r.Plan(t.Context(), nodes)
		if err != nil {
			t.Fatal(err)
		}
		if run, maybe := p.Work(); run+maybe != 0 {
			t.Fatalf("%d and %d nodes are to run of a graph that has run", run, maybe)
		}
		if n := c.gets.Load(); n != 2 {
			t.Errorf("the cache was asked %d times about 2 keys", n)
		}
		if want := map[bool]int{true: 2, false: len(nodes)}[ofKey]; w.checks != want {
			t.Errorf("verdicts of keys: %v; the worker was asked %d times, not %d", ofKey, w.checks, want)
		}
		w.lost[p.Steps[1].Key] = true
		if p, err = r.Plan(t.Context(), nodes); err != nil {
			t.Fatal(err)
		}
		if run, _ := p.Work(); run != 1 {
			t.Errorf("%d nodes are to run where the work of one key is lost", run)
		}
		clear(w.lost)
	}
}
