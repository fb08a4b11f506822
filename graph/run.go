package graph

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"bottlebuild/cache"

	"golang.org/x/sync/errgroup"
)

// ErrInputsChanged is wrapped by the error of a node whose inputs were changed
// while its work was done. The result was not stored.
var ErrInputsChanged = errors.New("its inputs changed while it was being built; run again")

// Report is what a run did, in the order of the plan.
type Report struct {
	Results []*Result
}

// Err joins a [NodeError] for each node that failed; nil if none did.
func (r *Report) Err() error {
	var errs []error
	for _, res := range r.Results {
		if res.Status == Failed {
			errs = append(errs, &NodeError{res.Node, res.Err})
		}
	}
	return errors.Join(errs...)
}

// Outputs returns the outputs of the nodes that have one, by address.
func (r *Report) Outputs() Inputs {
	out := Inputs{}
	for _, res := range r.Results {
		if res.Status == Ran || res.Status == Cached {
			out[res.Node.Address] = res.Output
		}
	}
	return out
}

// Follow makes r the report of a run that begins where an earlier one had to end:
// what r found in the cache because that one had done it counts as done.
func (r *Report) Follow(earlier *Report) {
	ran := map[string]*Result{}
	for _, res := range earlier.Results {
		if res.Status == Ran {
			ran[res.Node.Address] = res
		}
	}
	for i, res := range r.Results {
		if before := ran[res.Node.Address]; before != nil && res.Status == Cached && res.Key == before.Key {
			r.Results[i] = before
		}
	}
}

// errStopped is the cause of skips after a failure without KeepGoing.
var errStopped = errors.New("not started: another node had failed")

// run is the state of one run.
type run struct {
	*Runner
	slots     *slots
	remaining map[*Step]time.Duration
	results   map[*Node]*Result
	made      map[cache.Key]bool      // keys whose work was done in this run
	done      map[*Node]chan struct{} // closed when results has the node's result
	stopped   chan struct{}           // closed at the first failure, unless KeepGoing

	mu   sync.Mutex // guards results, made and Notify
	stop sync.Once  // guards the closing of stopped
}

// Run does what the plan says: each Run step, and each Maybe step whose inputs
// turn out to be new. A node that fails makes those that depend on it Skipped.
// When ctx is done, nothing more is started and what runs is cancelled. Each
// step has a result in the report.
func (r *Runner) Run(ctx context.Context, p *Plan) *Report {
	x := &run{
		Runner:    r,
		slots:     newSlots(r.room()),
		remaining: p.remaining(),
		results:   make(map[*Node]*Result, len(p.Steps)),
		made:      make(map[cache.Key]bool),
		done:      make(map[*Node]chan struct{}, len(p.Steps)),
		stopped:   make(chan struct{}),
	}
	for _, s := range p.Steps {
		x.done[s.Node] = make(chan struct{})
	}
	queued := make([]*waiter, len(p.Steps)) // of the steps that wait for nothing
	for i, s := range p.Steps {
		if s.Decision == Hit && s.SameAs == nil {
			x.finish(&Result{Node: s.Node, Status: Cached, Key: s.Key, Output: s.output, Bytes: s.bytes, Saved: s.saved, Action: s.Action})
		} else if s.SameAs == nil && x.finished(s.Node.Deps) {
			queued[i] = x.slots.enqueue(x.cost(s), x.remaining[s], i)
		}
	}
	var g errgroup.Group // without a limit, see Plan
	for i, s := range p.Steps {
		if s.Decision == Hit && s.SameAs == nil {
			continue
		}
		g.Go(func() error {
			x.finish(x.step(ctx, s, i, queued[i]))
			return nil
		})
	}
	_ = g.Wait() // errors are in the results
	report := &Report{}
	for _, s := range p.Steps {
		report.Results = append(report.Results, x.results[s.Node])
	}
	return report
}

func (x *run) finish(res *Result) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.results[res.Node] = res
	if x.Notify != nil {
		x.Notify(res)
	}
	close(x.done[res.Node])
}

// finished reports whether all of the nodes have ended.
func (x *run) finished(nodes []*Node) bool {
	for _, n := range nodes {
		if x.results[n] == nil {
			return false
		}
	}
	return true
}

// step waits for what the step depends on and for a slot, for which it may have
// queued already, and does its work.
func (x *run) step(ctx context.Context, s *Step, order int, queued *waiter) *Result {
	res := &Result{Node: s.Node, Status: Skipped, Key: s.Key, Action: s.Action}
	inputs := Inputs{}
	for _, d := range s.Node.Deps {
		if inputs[d.Address], res.Err = x.await(d); res.Err != nil {
			return res
		}
	}
	if s.SameAs != nil {
		if _, res.Err = x.await(s.SameAs.Node); res.Err != nil {
			return res
		}
	}
	if queued == nil {
		if res.Err = x.halted(ctx); res.Err != nil {
			return res
		}
		queued = x.slots.enqueue(x.cost(s), x.remaining[s], order)
	}
	release, err := x.slots.wait(ctx, queued)
	if err != nil {
		res.Err = err
		return res
	}
	defer release()
	if res.Err = x.halted(ctx); res.Err != nil {
		return res
	}
	x.work(ctx, s, inputs, res)
	if res.Status == Failed && !x.KeepGoing { // before the slot is another's
		x.stop.Do(func() { close(x.stopped) })
	}
	return res
}

// await waits until n has ended and returns its output, or why there is none.
func (x *run) await(n *Node) (cache.Output, error) {
	<-x.done[n]
	x.mu.Lock()
	defer x.mu.Unlock()
	res := x.results[n]
	if res.Status == Failed || res.Status == Skipped {
		return cache.Output{}, fmt.Errorf("%s %s", n.Address, res.Status)
	}
	return res.Output, nil
}

// halted tells why nothing more is to be started.
func (x *run) halted(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case <-x.stopped:
		return errStopped
	default:
		return nil
	}
}
