package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/graph"
	"bottlebuild/graph/history"
)

// history returns the records of earlier runs.
func (a *app) history() history.Log {
	return history.Log{Dir: filepath.Join(a.stateDir(), "runs")}
}

// recordEnd writes how the run ended.
func (x *execution) recordEnd(ctx context.Context, report *graph.Report, failure error) error {
	status := history.Done
	switch {
	case errors.Is(context.Cause(ctx), errInterrupted):
		status = history.Interrupted
	case failure != nil:
		status = history.Failed
	}
	return x.record.End(status, report, failure, time.Now())
}

// runJSON is a run in runs --json: the record less its nodes.
type runJSON struct {
	ID      string         `json:"id"`
	Project string         `json:"project"`
	Targets []string       `json:"targets,omitempty"`
	Version string         `json:"version"`
	Started time.Time      `json:"started"`
	Seconds float64        `json:"seconds"`
	Status  history.Status `json:"status"`
	Error   string         `json:"error,omitempty"`
	Counts  map[string]int `json:"counts"`
}

func newRunsCommand(a *app) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "runs [FILE]",
		Short: "List earlier runs; runs show tells what one of them did",
		Long: fmt.Sprintf(`Lists the runs on this host, newest first, of all bottle files, or of FILE, a
bottle file or a directory of them. A run that was killed is listed as well. The
last %d are kept, and no more than %s of them.`, history.MaxRuns, units.BytesSize(history.MaxBytes)),
		Example: `  bottlebuild runs
  bottlebuild runs bottles.hcl --json
  bottlebuild runs show`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if limit < 1 {
				return usageError("--limit %d: at least one is needed", limit)
			}
			return a.printRuns(strings.Join(args, ""), limit, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the runs as JSON")
	cmd.Flags().IntVar(&limit, "limit", 20, "list at most this many")
	show := newRunsShowCommand(a)
	show.DisableFlagsInUseLine = true
	show.Args = usageArgs(show.Args)
	cmd.AddCommand(show)
	return cmd
}

// printRuns prints the runs of the bottle file or directory at path; empty: all. A
// file that is gone still has its runs.
func (a *app) printRuns(path string, limit int, asJSON bool) error {
	project := ""
	if path != "" {
		var err error
		if project, err = filepath.Abs(path); err != nil {
			return err
		}
	}
	runs := []runJSON{}
	err := a.history().Runs(project, func(r *history.Run) bool {
		runs = append(runs, runJSON{r.ID, r.Project, r.Targets, r.Version, r.Started, r.Seconds, r.Status, r.Error, r.Counts})
		return len(runs) < limit
	})
	if err != nil {
		return err
	}
	if _, err := os.Stat(project); path != "" && len(runs) == 0 && errors.Is(err, fs.ErrNotExist) {
		return usageError("there is no bottle file %s, and no run of one", path)
	}
	if asJSON {
		return a.printJSON(runs)
	}
	rows := [][]string{{"RUN", "STARTED", "STATUS", "RAN", "CACHED", "FAILED", "SKIPPED", "TOOK", "BOTTLE FILE"}}
	for _, r := range runs {
		row := []string{r.ID, ago(r.Started), string(r.Status)}
		for _, s := range []graph.Status{graph.Ran, graph.Cached, graph.Failed, graph.Skipped} {
			row = append(row, fmt.Sprint(r.Counts[string(s)]))
		}
		rows = append(rows, append(row, tookText(r.Status, r.Started, r.Seconds), shorten(r.Project)))
	}
	return printTable(a.stdout, rows)
}

// tookText says how long a run has taken; of one that was killed nobody knows.
func tookText(status history.Status, started time.Time, took float64) string {
	switch status {
	case history.Killed:
		return ""
	case history.Running:
		return shortDuration(time.Since(started))
	}
	return shortDuration(seconds(took))
}

// ago says how long ago t was, for use within a sentence.
func ago(t time.Time) string { return strings.ToLower(units.HumanDuration(time.Since(t))) + " ago" }

func newRunsShowCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show [RUN|FILE]",
		Short: "Tell what a run did: what ran, was cached, failed, and how long it took",
		Long: `Tells what a run did, node by node. RUN is its name in "bottlebuild runs", or the
start of it; without it the newest run is meant, and with a bottle file, or a
directory of them, the newest of that.`,
		Example: `  bottlebuild runs show
  bottlebuild runs show bottles.hcl
  bottlebuild runs show 20260131T1200 --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			run, err := a.findRun(strings.Join(args, ""))
			if errors.Is(err, history.ErrNone) {
				return usageError("%w; see: bottlebuild runs", err)
			}
			if err != nil {
				return usageError("%w", err)
			}
			if asJSON {
				return a.printJSON(run)
			}
			return a.printRun(run)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the record as JSON")
	return cmd
}

// findRun returns the run that arg names, or the newest of the bottle file that it is.
func (a *app) findRun(arg string) (*history.Run, error) {
	if _, err := os.Stat(arg); arg == "" || err != nil && !looksLikePath(arg) {
		return a.history().Find("", arg)
	}
	project, err := filepath.Abs(arg)
	if err != nil {
		return nil, err
	}
	run, err := a.history().Find(project, "")
	if errors.Is(err, history.ErrNone) {
		return nil, usageError("there is no run of %s; see: bottlebuild runs", arg)
	}
	return run, err
}

func (a *app) printRun(r *history.Run) error {
	ended := " and took " + shortDuration(seconds(r.Seconds))
	if r.Status == history.Running || r.Status == history.Killed {
		ended = "; what had not ended is not listed"
	}
	fmt.Fprintf(a.stdout, "run %s of %s, %s: %s%s\n", r.ID, shorten(r.Project), ago(r.Started), r.Status, ended)
	if len(r.Targets) > 0 {
		fmt.Fprintf(a.stdout, "targets: %s\n", strings.Join(r.Targets, " "))
	}
	if r.Error != "" {
		fmt.Fprintln(a.stdout, r.Error)
	}
	if len(r.Nodes) == 0 {
		return nil
	}
	rows := [][]string{{"\nSTATUS", "NODE", "TOOK", "SIZE", "WHY"}}
	for _, n := range r.Nodes {
		status, took, size, why := string(n.Status), "", "", n.Error
		if n.Action != "" && n.Status == graph.Ran {
			status += " (" + n.Action + ")"
		}
		if n.Started != nil {
			took = shortDuration(seconds(n.Seconds))
		}
		if n.Bytes > 0 {
			size = units.BytesSize(float64(n.Bytes))
		}
		if why == "" {
			why = reasonLine(n.Reasons)
		}
		first, _, _ := strings.Cut(why, "\n")
		rows = append(rows, []string{status, n.Address, took, size, first})
	}
	if err := printTable(a.stdout, rows); err != nil {
		return err
	}
	if r.Omitted > 0 {
		fmt.Fprintf(a.stdout, "and %d more, most of them cached\n", r.Omitted)
	}
	return nil
}
