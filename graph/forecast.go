package graph

import (
	"container/heap"
	"time"
)

// room is what there is for all work together.
func (r *Runner) room() Cost {
	memory := r.MemoryMiB
	if memory <= 0 {
		memory = 1 << 40 // more than anything costs
	}
	return Cost{Slots: max(r.Jobs, 1), MemoryMiB: memory}
}

func (r *Runner) cost(s *Step) Cost {
	if r.Cost == nil {
		return Cost{Slots: 1}
	}
	spec := s.spec
	spec.Address, spec.Kind = s.Node.Address, s.Node.Kind
	return r.Cost(spec)
}

// Forecast is what a run of a plan is expected to take if every Maybe step runs:
// that is the most it should take.
type Forecast struct {
	Work     time.Duration // of all steps together
	Bytes    int64
	Elapsed  time.Duration // with the runner's jobs and memory
	Critical []*Step       // the longest chain of dependencies: no number of jobs makes it faster
	Chain    time.Duration // what the critical steps take
	Unknown  int           // steps with work of which nothing is known; they count as nothing
}

// Forecast plays the plan through with the estimates in place of the work, by
// the rules that [Runner.Run] keeps to.
func (r *Runner) Forecast(p *Plan) Forecast {
	var f Forecast
	for _, s := range p.Steps {
		if s.Decision == Hit {
			continue
		}
		if s.Estimate.Seconds == 0 {
			f.Unknown++
		}
		f.Work += s.expected()
		f.Bytes += s.Estimate.Bytes
	}
	f.Critical, f.Chain = p.critical()
	f.Elapsed = r.simulate(p)
	return f
}

// expected is how long the step's work should take; nothing for a Hit.
func (s *Step) expected() time.Duration {
	if s.Decision == Hit {
		return 0
	}
	return time.Duration(s.Estimate.Seconds * float64(time.Second))
}

// critical returns the chain of steps that takes longest, first step first.
func (p *Plan) critical() (chain []*Step, took time.Duration) {
	left := p.paths((*Step).expected)
	var at *Step
	for _, s := range p.Steps {
		if left[s] > 0 && (at == nil || left[s] > left[at]) {
			at = s
		}
	}
	if at == nil {
		return nil, 0
	}
	took = left[at]
	followers := p.followers()
	for at != nil {
		if at.Decision != Hit {
			chain = append(chain, at)
		}
		var next *Step
		for _, f := range followers[at] {
			if left[f] > 0 && left[f] == left[at]-at.expected() {
				next = f
				break
			}
		}
		at = next
	}
	return chain, took
}

// followers returns for each step those that wait for it: its dependents, and
// the steps whose work it does.
func (p *Plan) followers() map[*Step][]*Step {
	steps := make(map[*Node]*Step, len(p.Steps))
	for _, s := range p.Steps {
		steps[s.Node] = s
	}
	f := make(map[*Step][]*Step, len(p.Steps))
	for _, s := range p.Steps {
		for _, d := range s.Node.Deps {
			f[steps[d]] = append(f[steps[d]], s)
		}
		if s.SameAs != nil {
			f[s.SameAs] = append(f[s.SameAs], s)
		}
	}
	return f
}

// paths returns for each step the length of the longest path from its start to
// the end of the plan, where own is the length of a step.
func (p *Plan) paths(own func(*Step) time.Duration) map[*Step]time.Duration {
	followers := p.followers()
	left := make(map[*Step]time.Duration, len(p.Steps))
	for i := len(p.Steps) - 1; i >= 0; i-- { // followers come later in the plan
		s := p.Steps[i]
		for _, f := range followers[s] {
			left[s] = max(left[s], left[f])
		}
		left[s] += own(s)
	}
	return left
}

// remaining is [Plan.paths] for the order in which work is started: what nothing
// is known of counts as a second.
func (p *Plan) remaining() map[*Step]time.Duration {
	return p.paths(func(s *Step) time.Duration {
		if d := s.expected(); d > 0 || s.Decision == Hit {
			return d
		}
		return time.Second
	})
}

// simulate returns when the last step would end.
func (r *Runner) simulate(p *Plan) time.Duration {
	var (
		followers = p.followers()
		remaining = p.remaining()
		waits     = make(map[*Step]int, len(p.Steps))
		total     = r.room()
		free      = total
		ready     waiters
		running   endings
		now       time.Duration
		done      []*Step
	)
	for _, fs := range followers {
		for _, f := range fs {
			waits[f]++
		}
	}
	order := make(map[*Step]int, len(p.Steps))
	for i, s := range p.Steps {
		order[s] = i
	}
	start := func(s *Step) {
		if s.Decision == Hit {
			done = append(done, s)
			return
		}
		heap.Push(&ready, &waiter{cost: r.cost(s).within(total), remaining: remaining[s], order: order[s]})
	}
	for _, s := range p.Steps {
		if waits[s] == 0 {
			start(s)
		}
	}
	for {
		for len(done) > 0 {
			s := done[len(done)-1]
			done = done[:len(done)-1]
			for _, f := range followers[s] {
				if waits[f]--; waits[f] == 0 {
					start(f)
				}
			}
		}
		for len(ready) > 0 && ready[0].cost.fits(free) {
			w := heap.Pop(&ready).(*waiter)
			free = free.minus(w.cost)
			s := p.Steps[w.order]
			heap.Push(&running, ending{now + s.expected(), s, w.cost})
		}
		if len(running) == 0 {
			return now
		}
		e := heap.Pop(&running).(ending)
		now, free = e.at, free.plus(e.cost)
		done = append(done, e.step)
	}
}

// ending is when a step that runs will end.
type ending struct {
	at   time.Duration
	step *Step
	cost Cost
}

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
