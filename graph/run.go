package graph

import (
	"context"
	"encoding/json"
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

	mu   sync.Mutex // guards results, made, Notify and the closing of stopped
	stop sync.Once
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
	if res.Status == Failed && !x.KeepGoing {
		x.stop.Do(func() { close(x.stopped) })
	}
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

// work does a step's work, unless its key turns out to have an entry, and fills
// in the result.
func (x *run) work(ctx context.Context, s *Step, inputs Inputs, res *Result) {
	start := time.Now()
	res.Started = start
	fail := func(err error) {
		res.Status, res.Err, res.Elapsed = Failed, err, time.Since(start)
		if ctx.Err() != nil { // it was called off
			res.Status, res.Err = Skipped, context.Cause(ctx)
		}
	}
	if !s.spec.Known {
		if err := x.bind(ctx, s, inputs); err != nil {
			fail(err)
			return
		}
		res.Key = s.Key
	}
	unlock, err := x.Cache.Lock(ctx, s.Key)
	if err != nil {
		fail(err)
		return
	}
	defer unlock()
	// Another process may have done the work since the plan was made. If it was
	// another node of this run, by different inputs that came out the same, a
	// step that was planned to run does run: a plan is kept to the letter.
	if !(x.forced(s) && s.SameAs == nil) && !(s.Decision == Run && x.wasMade(s.Key)) {
		entry, _, err := x.get(s.Key)
		if err == nil {
			err = x.judge(ctx, s, entry)
		}
		if err != nil {
			fail(err)
			return
		}
		res.Action = s.Action
		if s.Decision == Hit {
			res.Status, res.Output = Cached, s.output
			if entry != nil {
				res.Bytes, res.Saved = entry.Bytes, time.Duration(entry.Seconds*float64(time.Second))
			}
			return
		}
	}
	out, err := x.try(ctx, s.spec)
	if err == nil {
		err = x.store(ctx, s, out, time.Since(start), res)
	}
	if err != nil {
		fail(err)
		return
	}
	res.Status, res.Output, res.Elapsed = Ran, out, time.Since(start)
}

func (x *run) wasMade(k cache.Key) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.made[k]
}

// maxRetryPause bounds what the pause between tries grows to.
const maxRetryPause = 30 * time.Second

// try hands the work to the executor, as a value, as often as allowed.
func (x *run) try(ctx context.Context, spec Spec) (out cache.Output, err error) {
	params, err := json.Marshal(spec.Params)
	if err != nil {
		return out, fmt.Errorf("encode parameters: %w", err)
	}
	w := Work{Address: spec.Address, Kind: spec.Kind, Key: spec.Key, Params: params, Inputs: spec.Inputs}
	pause := x.RetryPause
	for tries := 0; ; tries++ {
		out, err = x.once(ctx, w)
		if err == nil || tries >= x.Retries || ctx.Err() != nil {
			return out, err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxRetryPause)
		case <-ctx.Done():
			return out, err
		}
	}
}

func (x *run) once(ctx context.Context, w Work) (cache.Output, error) {
	if x.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, x.Timeout, fmt.Errorf("it took longer than %s", x.Timeout))
		defer cancel()
	}
	out, err := x.Executor.Execute(ctx, w)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return out, err
}

// store puts the output into the cache, unless the inputs have changed since
// the key was made.
func (x *run) store(ctx context.Context, s *Step, out cache.Output, took time.Duration, res *Result) error {
	again, err := x.describe(ctx, s.spec)
	if err != nil {
		return err
	}
	if again.Key() != s.Key {
		return changedError(s.recipe, again)
	}
	e := &cache.Entry{
		Key: s.Key, Kind: s.Node.Kind, Address: s.Node.Address, Output: out,
		Created: time.Now().UTC(), Seconds: took.Seconds(), Recipe: s.recipe.Text(),
	}
	// The mark comes first: an entry without one would be a hit that no plan
	// had seen as possible.
	if len(s.Node.Deps) > 0 {
		partial, err := x.partial(ctx, s.spec)
		if err != nil {
			return err
		}
		if err := x.Cache.Mark(partial); err != nil {
			return err
		}
	}
	if err := x.Cache.Put(e); err != nil {
		return err
	}
	res.Bytes = e.Bytes
	x.mu.Lock()
	x.made[s.Key] = true
	x.mu.Unlock()
	return x.Cache.SetLatest(x.Scope, s.Node.Address, s.Key)
}

func changedError(before, after *cache.Recipe) error {
	for _, c := range cache.Diff(before, after) {
		return fmt.Errorf("%s: %w", c.Component, ErrInputsChanged)
	}
	return ErrInputsChanged
}
