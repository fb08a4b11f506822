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

	"bottlebuild/graph"
)

type runFlags struct {
	selection
	progress  string
	metadata  string
	jobs      int
	keepGoing bool
	timeout   time.Duration
	retries   int
	again     bool   // --watch
	watch     *watch // with --watch
}

func newRunCommand(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [FILE] [TARGET...]",
		Short: "Build, export, push, pack and boot what is not up to date",
		Long: `Run does what the bottle file declares and the cache does not have yet. Without
targets it takes the group "default" if there is one, else everything; what a
target depends on is included. FILE may also be a plan that "plan --out" has
saved: run does exactly that, or names what has changed since and does nothing.

Exit codes: 0 done, 1 a node failed, 3 bottle file, usage, or a saved plan that
no longer holds, 4 builder, registry or backend unavailable, 5 a disk is full or
too many files are open, 6 verification failed, 130 interrupted.`,
		Example: `  bottlebuild run
  bottlebuild run examples/bottles.hcl
  bottlebuild run bottles.hcl image.base 'bottle.agent["claude"]'
  bottlebuild run --until pack --force image.base
  bottlebuild run today.plan
  bottlebuild run --watch --keep-going
  bottlebuild run --var node=22 --keep-going --metadata-file out.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.check(); err != nil {
				return err
			}
			if f.again {
				return a.watchRun(cmd.Context(), &f, args)
			}
			return a.run(cmd.Context(), &f, args)
		},
	}
	f.add(cmd)
	a.addLocked(cmd)
	fl := cmd.Flags()
	fl.BoolVarP(&f.again, "watch", "w", false, "run again whenever a file changes that counts, until interrupted")
	f.addWork(cmd)
	fl.StringVar(&f.metadata, "metadata-file", "", "write what was done, and the outputs, to this file as JSON")
	fl.BoolVar(&f.keepGoing, "keep-going", false, "go on with what does not depend on a node that failed")
	return cmd
}

// addWork adds the flags that say how work is done.
func (f *runFlags) addWork(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.progress, "progress", "auto", "how to show progress: "+strings.Join(progressModes, ", "))
	addJobs(cmd, &f.jobs)
	fl.DurationVar(&f.timeout, "node-timeout", 0, "fail a node that takes longer than this; 0 is no limit")
	fl.IntVar(&f.retries, "retries", 0, "try a node that failed this many times again")
}

func addJobs(cmd *cobra.Command, jobs *int) {
	cmd.Flags().IntVarP(jobs, "jobs", "j", max(4, runtime.NumCPU()), "how many nodes to work on at once")
}

func (f *runFlags) check() error {
	switch {
	case f.jobs < 1:
		return usageError("--jobs %d: at least one is needed", f.jobs)
	case f.retries < 0:
		return usageError("--retries %d: it cannot be negative", f.retries)
	}
	return checkProgress("--progress", f.progress)
}

func (a *app) run(ctx context.Context, f *runFlags, args []string) (err error) {
	start := time.Now()
	// Whoever reads the file must not take an earlier run's for this one's.
	if f.metadata != "" {
		if err := checkMetadata(f.metadata); err != nil {
			return err
		}
		if err := writeMetadata(f.metadata, &graph.Report{}, nil, nil); err != nil {
			return usageError("--metadata-file: %w", err)
		}
	}
	a.rawProgress = f.progress == "rawjson"
	sel := f.selection
	saved, err := a.savedArgument(&sel, args)
	if err != nil {
		return err
	}
	if saved != nil {
		if sel, args, err = saved.selection(&f.fileFlags); err != nil {
			return err
		}
	}
	if f.watch != nil {
		sel.read = &input{}
	}
	c, err := a.choose(ctx, &sel, args)
	if err != nil {
		return err
	}
	x, end, err := a.start(c, f, saved)
	if err != nil {
		return err
	}
	defer end()
	x.record = x.history().Start(c.file.Project(), version(), targetsOf(&sel, args), start)
	x.in = sel.read
	endGroup := a.job().Group("bottlebuild run " + c.file.Project())
	report, err := x.planAndExecute(ctx)
	endGroup()
	outputs, err := a.finish(ctx, f, x, report, err)
	idle := f.watch.idle(report, err)
	if idle && !x.record.Begun() {
		return nil // a file that was touched is no run to keep
	}
	if err := x.recordEnd(ctx, report, err); err != nil && !a.rawProgress {
		fmt.Fprintln(a.stderr, "bottlebuild:", err) // what was done is done
	}
	if idle {
		return nil
	}
	if report != nil {
		a.summarize(report, time.Since(start), f.progress)
		err = errors.Join(err, a.tellRun(c.file.Project(), report, outputs, time.Since(start)))
	}
	if err != nil {
		return err
	}
	x.release()
	x.trim(ctx)
	return a.printOutputs(outputs)
}

// targetsOf returns the targets among the arguments.
func targetsOf(f *selection, args []string) []string {
	_, targets, err := f.locate(args)
	if err != nil {
		return nil
	}
	return targets
}

// finish saves what the scans have learnt and the metadata, also of a run that
// failed, and returns the outputs, or why the run has failed.
func (a *app) finish(ctx context.Context, f *runFlags, x *execution, report *graph.Report, failure error) (outputs map[string]json.RawMessage, err error) {
	if report == nil { // nothing was tried
		if f.metadata != "" {
			failure = errors.Join(failure, writeMetadata(f.metadata, unplanned(failure), nil, nil))
		}
		return nil, failure
	}
	shared := x.tellShared(f.progress == "quiet" || f.progress == "rawjson")
	failure = errors.Join(failure, x.worker.Scanner.Save(context.WithoutCancel(ctx)), x.worker.SaveDownloads())
	outputs, diags := x.chosen.file.Outputs(report.Outputs())
	if f.metadata != "" {
		failure = errors.Join(failure, writeMetadata(f.metadata, report, outputs, shared))
	}
	switch err := report.Err(); {
	case failure != nil:
		return nil, errors.Join(err, failure)
	case err != nil:
		return nil, err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return outputs, a.diagnose(x.chosen.file, diags)
}

// unplanned is the report of a run of which nodes could not be planned.
func unplanned(err error) *graph.Report {
	r := &graph.Report{}
	for _, e := range nodeErrors(err) {
		r.Results = append(r.Results, &graph.Result{Node: e.Node, Status: graph.Failed, Err: e.Err})
	}
	return r
}

// nodeErrors returns the errors of nodes that err joins.
func nodeErrors(err error) []*graph.NodeError {
	var found []*graph.NodeError
	var visit func(error)
	visit = func(err error) {
		switch e := err.(type) { //nolint:errorlint // it goes through the tree of errors itself
		case *graph.NodeError:
			found = append(found, e)
		case interface{ Unwrap() []error }:
			for _, err := range e.Unwrap() {
				visit(err)
			}
		case interface{ Unwrap() error }:
			visit(e.Unwrap())
		}
	}
	visit(err)
	return found
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
