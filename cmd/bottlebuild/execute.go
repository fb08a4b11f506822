package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/graph/history"
	"bottlebuild/tasks"
	"bottlebuild/tasks/progress"
)

// retryPause is how long a node that failed waits before it is tried again.
const retryPause = time.Second

// packMemory is what smolvm's packing takes: it boots a VM of 4 processors and
// 8 GiB.
const packMemory = 8 << 10 // MiB

// runner returns what plans and runs the chosen nodes.
func (s *session) runner(c *chosen) *graph.Runner {
	s.worker.Pins = c.file.Pins()
	r := &graph.Runner{
		Cache: s.store, Worker: s.worker, Executor: s.worker, Scope: c.file.Project(), Jobs: 1,
		MemoryMiB: availableMemory(), RetryPause: retryPause,
		Cost: func(spec graph.Spec) graph.Cost {
			if p, ok := spec.Params.(tasks.Pack); ok && p.Backend != tasks.BackendContainer {
				return graph.Cost{Slots: 2, MemoryMiB: packMemory}
			}
			return graph.Cost{Slots: 1}
		},
	}
	past := sync.OnceValue(func() history.Past {
		p, err := s.history().Past(c.file.Project())
		if err != nil {
			return history.Past{} // a plan does without
		}
		return p
	})
	r.Alike = tasks.LikeAction
	r.Past = func(n *graph.Node, actions ...string) graph.Estimate { return past().Of(n, actions...) }
	if len(c.forced) > 0 {
		r.Force = func(n *graph.Node) bool { return c.forced[n] }
	}
	s.sharing(r)
	return r
}

// planNodes plans nodes, again if what a shared cache promised, and the plan
// needed, cannot be had.
func (s *session) planNodes(ctx context.Context, runner *graph.Runner, nodes []*graph.Node) (*graph.Plan, error) {
	for again := 1; ; again++ {
		denied := s.denied()
		plan, err := runner.Plan(ctx, nodes)
		if err == nil || s.denied() == denied || ctx.Err() != nil {
			return plan, err
		}
		if again == replans {
			s.shared.StopReading()
		}
	}
}

// execution is one run of the chosen nodes.
type execution struct {
	*session
	chosen  *chosen
	runner  *graph.Runner
	mode    string // of progress
	saved   *savedPlan
	in      *input            // what a saved plan is compared with
	record  *history.Recorder // nil: what is done is not kept
	watch   *watch            // or nil
	release func()            // ends the protection of what was found in the cache
}

// start opens what a run of the chosen nodes needs; end gives it back.
func (a *app) start(c *chosen, f *runFlags, saved *savedPlan) (x *execution, end func(), err error) {
	if _, err := a.cacheBounds(); err != nil {
		return nil, nil, err // now, and not at the trim after the work
	}
	s, release, err := a.hold()
	if err != nil {
		return nil, nil, err
	}
	end = func() { release(); s.close() }
	if err = s.store.Sweep(); err == nil {
		err = s.share(c.file, &f.shared, false)
	}
	if err != nil {
		end()
		return nil, nil, err
	}
	x = &execution{session: s, chosen: c, runner: s.runner(c), mode: f.progress, saved: saved, watch: f.watch, release: release}
	x.runner.Jobs, x.runner.KeepGoing, x.runner.Timeout, x.runner.Retries = f.jobs, f.keepGoing, f.timeout, f.retries
	return x, end, nil
}

// planAndExecute runs the nodes, once more if something in the cache turns out
// to be damaged or gone: it is out of the way by then, and what made it runs.
// What a shared cache has lost is found piece by piece, so that takes a few times. A
// saved plan is not carried out a second time, since it is another by then.
func (x *execution) planAndExecute(ctx context.Context) (*graph.Report, error) {
	earlier := &graph.Report{}
	for again := 0; ; again++ {
		denied := x.denied()
		plan, err := x.plan(ctx)
		if err != nil {
			return nil, err
		}
		if x.saved != nil {
			if err := x.saved.verify(ctx, x.session, x.runner, plan, x.in, x.chosen.file); err != nil {
				return nil, err
			}
		}
		report, err := x.execute(ctx, plan)
		if err == nil {
			report.Follow(earlier)
			earlier = report
			err = x.watch.followRun(ctx, x, plan)
		}
		if err != nil {
			return report, err
		}
		failure := report.Err()
		last := again > 0 && x.denied() == denied
		if last || x.saved != nil || ctx.Err() != nil || !errors.Is(failure, cache.ErrDamaged) && !errors.Is(failure, cache.ErrMiss) {
			return report, nil
		}
		if !x.rawProgress {
			fmt.Fprintf(x.stderr, "bottlebuild: %v\nbottlebuild: what made it runs again\n", failure)
		}
		x.verify(report)
		if again == replans {
			x.shared.StopReading()
		}
	}
}

// plan makes the plan. With --watch, what it was made of is watched from before
// it was looked at.
func (x *execution) plan(ctx context.Context) (*graph.Plan, error) {
	for {
		plan, err := x.planNodes(ctx, x.runner, x.chosen.nodes)
		grown, werr := x.watch.follow(ctx, x, plan)
		if err != nil {
			return nil, planError(err)
		}
		if werr != nil || !grown {
			return plan, werr
		}
	}
}

// verify reads what the run's outputs consist of, which puts all of it that is
// damaged out of the way at once.
func (s *session) verify(r *graph.Report) {
	seen := map[cache.Digest]bool{}
	for _, res := range r.Results {
		for _, b := range res.Output.Blobs {
			if !seen[b.Digest] {
				seen[b.Digest] = true
				_ = s.store.VerifyBlob(b.Digest) // what is gone by now is a miss
			}
		}
	}
}

// execute runs a plan and sends the shared cache what it lacks, under a display,
// which is opened only if there is work.
func (x *execution) execute(ctx context.Context, plan *graph.Plan) (report *graph.Report, err error) {
	run, maybe := plan.Work()
	if run+maybe == 0 {
		report := x.runner.Run(ctx, plan)
		return report, x.flush(ctx, report)
	}
	x.watch.tell(x.app, plan)
	_ = x.record.Begin() // if it cannot be written, End says so: that is no reason not to run
	err = x.show(func(d *display) {
		report = x.runUnder(ctx, d, plan)
		if x.shared != nil && x.shared.Writes() {
			x.publishCached(report)
			x.shared.Flush(ctx)
		}
	})
	return report, err
}

// runUnder runs a plan and shows of each node how it ended.
func (x *execution) runUnder(ctx context.Context, d *display, plan *graph.Plan) *graph.Report {
	x.runner.Notify = func(res *graph.Result) {
		if x.record != nil {
			x.record.Note(res)
		}
		address, kind := res.Node.Address, res.Node.Kind
		switch {
		case res.Status == graph.Cached:
			progress.Start(d.sink(address), kind).Cached()
		case res.Status == graph.Failed && !d.hasFailed(address):
			// A node that failed before it reported anything is shown as well.
			progress.Start(d.sink(address), kind).Done(res.Err)
		}
	}
	return x.runner.Run(ctx, plan)
}

// flush sends the shared cache what it lacks after a run that did no work.
func (x *execution) flush(ctx context.Context, report *graph.Report) error {
	if x.shared == nil || !x.shared.Writes() {
		return nil
	}
	x.publishCached(report)
	if !x.shared.Sending() {
		x.shared.Flush(ctx)
		return nil
	}
	return x.show(func(*display) { x.shared.Flush(ctx) })
}

// show does something under a display.
func (x *execution) show(do func(*display)) error {
	s, mode := x.session, x.mode
	if mode == "auto" {
		if v := s.env("BUILDKIT_PROGRESS"); v != "" {
			if err := checkProgress("BUILDKIT_PROGRESS", v); err != nil {
				return err
			}
			mode = v
		} else if s.env("CI") != "" {
			mode = "plain"
		}
	}
	d, err := openDisplay(s.stderr, mode)
	if err != nil {
		return err
	}
	s.display.Store(d)
	do(d)
	return d.close()
}

// availableMemory returns how much memory, in MiB, can be had without swapping;
// 0 where that is not known.
func availableMemory() int {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "MemAvailable:" {
			kib, _ := strconv.Atoi(f[1])
			return kib >> 10
		}
	}
	return 0
}
