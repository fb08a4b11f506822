package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
	"bottlebuild/tasks"
	"bottlebuild/tasks/progress"
)

type runFlags struct {
	fileFlags
	progress  string
	metadata  string
	jobs      int
	keepGoing bool
	timeout   time.Duration
	retries   int
}

func newRunCommand(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [FILE] [TARGET...]",
		Short: "Build, export, push, pack and boot what is not up to date",
		Long: `Run does what the bottle file declares and the cache does not have yet. Without
targets it takes the group "default" if there is one, else everything; what a
target depends on is included.

Exit codes: 0 done, 1 a node failed, 3 bottle file or usage, 4 builder, registry
or backend unavailable, 5 disk full, 6 verification failed, 130 interrupted.`,
		Example: `  bottlebuild run
  bottlebuild run examples/bottles.hcl
  bottlebuild run bottles.hcl image.base 'bottle.agent["claude"]'
  bottlebuild run --var node=22 --keep-going --metadata-file out.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.progress, "progress", "auto", "how to show progress: "+strings.Join(progressModes, ", "))
	fl.StringVar(&f.metadata, "metadata-file", "", "write what was done, and the outputs, to this file as JSON")
	fl.IntVarP(&f.jobs, "jobs", "j", max(4, runtime.NumCPU()), "how many nodes to work on at once")
	fl.BoolVar(&f.keepGoing, "keep-going", false, "go on with what does not depend on a node that failed")
	fl.DurationVar(&f.timeout, "node-timeout", 0, "fail a node that takes longer than this; 0 is no limit")
	fl.IntVar(&f.retries, "retries", 0, "try a node that failed this many times again")
	return cmd
}

func (a *app) run(ctx context.Context, f *runFlags, args []string) (err error) {
	start := time.Now()
	if f.jobs < 1 {
		return usageError("--jobs %d: at least one is needed", f.jobs)
	}
	if f.retries < 0 {
		return usageError("--retries %d: it cannot be negative", f.retries)
	}
	if err := checkProgress("--progress", f.progress); err != nil {
		return err
	}
	// Whoever reads the file must not take an earlier run's for this one's.
	if f.metadata != "" {
		if err := writeMetadata(f.metadata, &graph.Report{}, nil); err != nil {
			return usageError("--metadata-file: %w", err)
		}
	}
	a.rawProgress = f.progress == "rawjson"
	file, nodes, err := a.nodes(ctx, &f.fileFlags, args)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.store.Sweep(24 * time.Hour); err != nil {
		return err
	}
	runner := s.runner(file)
	runner.Jobs, runner.KeepGoing, runner.Timeout, runner.Retries = f.jobs, f.keepGoing, f.timeout, f.retries
	report, err := s.planAndExecute(ctx, runner, nodes, f.progress)
	if err != nil {
		return err
	}
	if err := s.worker.Scanner.Save(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	outputs, diags := file.Outputs(report.Outputs())
	if err := a.diagnose(file, diags); err != nil {
		return err
	}
	if f.metadata != "" {
		if err := writeMetadata(f.metadata, report, outputs); err != nil {
			return err
		}
	}
	a.summarize(report, time.Since(start), f.progress)
	if err := report.Err(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return a.printOutputs(outputs)
}

// runner returns what plans and runs the nodes of a bottle file.
func (s *session) runner(file *bottlefile.File) *graph.Runner {
	return &graph.Runner{
		Cache: s.store, Worker: s.worker, Executor: s.worker, Scope: file.Project(), Jobs: 1,
		Weight: func(n *graph.Node) int {
			if n.Kind == tasks.KindPack { // smolvm boots a VM of 4 processors and up to 8 GiB for it
				return 2
			}
			return 1
		},
	}
}

// planAndExecute runs the nodes, once more if something in the cache turns out
// to be damaged or gone: it is out of the way by then, and what made it runs.
func (s *session) planAndExecute(ctx context.Context, runner *graph.Runner, nodes []*graph.Node, mode string) (*graph.Report, error) {
	for again := false; ; again = true {
		plan, err := runner.Plan(ctx, nodes)
		if err != nil {
			return nil, planError(err)
		}
		report, err := s.execute(ctx, runner, plan, mode)
		if err != nil {
			return nil, err
		}
		failure := report.Err()
		if again || ctx.Err() != nil || !errors.Is(failure, cache.ErrDamaged) && !errors.Is(failure, cache.ErrMiss) {
			return report, nil
		}
		if !s.rawProgress {
			fmt.Fprintf(s.stderr, "bottlebuild: %v\nbottlebuild: what made it runs again\n", failure)
		}
		s.verify(report)
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

// execute runs a plan under a display, which is opened only if there is work.
func (s *session) execute(ctx context.Context, runner *graph.Runner, plan *graph.Plan, mode string) (*graph.Report, error) {
	run, maybe := plan.Work()
	if run+maybe == 0 {
		return runner.Run(ctx, plan), nil
	}
	if mode == "auto" {
		if v := s.env("BUILDKIT_PROGRESS"); v != "" {
			if err := checkProgress("BUILDKIT_PROGRESS", v); err != nil {
				return nil, err
			}
			mode = v
		} else if s.env("CI") != "" {
			mode = "plain"
		}
	}
	d, err := openDisplay(s.stderr, mode)
	if err != nil {
		return nil, err
	}
	s.worker.Progress = d.sink
	runner.Notify = func(e graph.Event) {
		if e.Result == nil {
			return
		}
		switch e.Result.Status {
		case graph.Cached:
			progress.Start(d.sink(e.Node.Address), e.Node.Kind).Cached()
		case graph.Failed:
			// A node that failed before it reported anything is shown as well.
			if d.hasFailed(e.Node.Address) {
				return
			}
			progress.Start(d.sink(e.Node.Address), e.Node.Kind).Done(e.Result.Err)
		}
	}
	report := runner.Run(ctx, plan)
	return report, d.close()
}

// planError makes what keeps nodes from being described an error of the bottle
// file, unless it is the world's.
func planError(err error) error {
	return &exitError{classify(err, exitUsage), err}
}

// printOutputs writes the outputs to standard output, a line each.
func (a *app) printOutputs(outputs map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(outputs)) {
		if _, err := fmt.Fprintf(a.stdout, "%s = %s\n", name, outputs[name]); err != nil {
			return err
		}
	}
	return nil
}

// summarize writes the closing lines: how the nodes ended, how long it took, and
// what the cache has saved.
func (a *app) summarize(r *graph.Report, took time.Duration, mode string) {
	if mode == "quiet" || mode == "rawjson" {
		return
	}
	count := map[graph.Status]int{}
	var saved time.Duration
	for _, res := range r.Results {
		count[res.Status]++
		saved += res.Saved
		if res.Status == graph.Skipped && !errors.Is(res.Err, errInterrupted) {
			fmt.Fprintf(a.stderr, "skipped %s: %v\n", res.Node.Address, res.Err)
		}
	}
	text := fmt.Sprintf("%d ran, %d cached", count[graph.Ran], count[graph.Cached])
	for _, s := range []graph.Status{graph.Failed, graph.Skipped} {
		if count[s] > 0 {
			text += fmt.Sprintf(", %d %s", count[s], s)
		}
	}
	text += fmt.Sprintf(" in %s", shortDuration(took))
	if saved > 0 {
		text += fmt.Sprintf(" (the cache saved %s)", shortDuration(saved))
	}
	fmt.Fprintln(a.stderr, text)
}

// shortDuration rounds to what a reader wants to know.
func shortDuration(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
