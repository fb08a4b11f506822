package graph

import (
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// each calls do for each step, after it has returned for those that the step
// depends on, for several steps at once. A big plan is made by few goroutines: a
// step is handed to them only when its turn has come.
func (p *Plan) each(steps map[*Node]*Step, goroutines int, do func(*Step)) {
	followers := make(map[*Step][]*Step, len(p.Steps))
	waits := make([]atomic.Int32, len(p.Steps))
	index := make(map[*Step]int, len(p.Steps))
	ready := make(chan *Step, len(p.Steps)) // has room for all, so that nobody waits to hand on
	for i, s := range p.Steps {
		index[s] = i
		waits[i].Store(int32(len(s.Node.Deps)))
		for _, d := range s.Node.Deps {
			followers[steps[d]] = append(followers[steps[d]], s)
		}
	}
	for _, s := range p.Steps {
		if len(s.Node.Deps) == 0 {
			ready <- s
		}
	}
	if len(p.Steps) == 0 {
		return
	}
	var left atomic.Int64
	left.Store(int64(len(p.Steps)))
	var g errgroup.Group
	for range min(goroutines, len(p.Steps)) {
		g.Go(func() error {
			for s := range ready {
				do(s)
				for _, f := range followers[s] {
					if waits[index[f]].Add(-1) == 0 {
						ready <- f
					}
				}
				if left.Add(-1) == 0 {
					close(ready)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // nothing in it fails
}
