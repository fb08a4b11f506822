package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"bottlebuild/graph"
	"bottlebuild/tasks"
)

type warmFlags struct {
	runFlags
	check   bool
	shard   string
	timings string
	json    bool
}

func newWarmCommand(a *app) *cobra.Command {
	var f warmFlags
	cmd := &cobra.Command{
		Use:   "warm [FILE] [TARGET...]",
		Short: "Fill the shared cache: build, push and pack, and boot nothing",
		Long: `Warm does what is not in the cache of images, pushes and packs, sends it to the
shared cache, and says which bottles are ready, so that others boot them without
building, and which are cold. Exports, machines and pushes to an embedded registry
are of one host and are left out. A node that fails keeps only what needs it from being done.

With --check nothing is done: the shared cache, or this machine's if there is
none, is asked for everything, whatever is remembered of it.

With --shard I/N only the I-th of N parts is done or checked, which take about
as long as each other by what the work took earlier. Every part must be made with
the same bottle file and the same times: those of this host's earlier runs, or with
--timings those in a report that "warm --json" has printed. What several bottles
need is in the part of each.

Exit codes: 0 all is ready, 1 a node failed, 2 something is cold; otherwise those
of run.`,
		Example: `  bottlebuild warm --cache registry.example.com/acme:rw --cache-sign-key ci.key
  bottlebuild warm --check --cache registry.example.com/acme:r
  bottlebuild warm --shard 2/5 --timings timings.json
  bottlebuild warm --json >timings.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.runFlags.check(); err != nil {
				return err
			}
			return a.warm(cmd.Context(), &f, args)
		},
	}
	f.fileFlags.add(cmd)
	f.shared.add(cmd)
	f.addWork(cmd)
	a.addLocked(cmd)
	fl := cmd.Flags()
	fl.BoolVar(&f.check, "check", false, "only say what is ready; exit with 2 if something is cold")
	filledFlag(cmd, &f.shard, "shard", "only the `I/N`-th part of the work, as in 2/5")
	filledFlag(cmd, &f.timings, "timings", "split by the times in this `FILE`, a report of warm --json")
	fl.BoolVar(&f.json, "json", false, "print the report as JSON")
	return cmd
}

// warm fills the cache, or checks it.
func (a *app) warm(ctx context.Context, f *warmFlags, args []string) error {
	start := time.Now()
	a.rawProgress = f.progress == "rawjson"
	// Whether others find it is what this is about.
	f.shared.fresh, f.keepGoing = true, true
	c, err := a.choose(ctx, &f.selection, args)
	if err != nil {
		return err
	}
	if err := c.keepShared("warm"); err != nil {
		return err
	}
	if err := a.takeShard(c, f); err != nil {
		return err
	}
	var r *warmReport
	switch {
	case len(c.nodes) == 0: // more parts than bottles
		r = &warmReport{}
	case f.check:
		r, err = a.checkWarm(ctx, f, c)
	default:
		r, err = a.runWarm(ctx, f, c, args, start)
	}
	if r == nil {
		return err
	}
	r.complete(f.shard)
	if f.json {
		err = errors.Join(err, a.printJSON(r))
	} else {
		err = errors.Join(err, r.print(a.stdout))
	}
	if err = errors.Join(err, a.tellWarm(c.file.Project(), r)); err == nil && r.Cold > 0 {
		err = &exitError{code: exitWork}
	}
	return err
}

// keepShared leaves of the nodes those whose results are of use elsewhere, which a
// push to the embedded registry of this host is not. verb is what is done with them.
func (c *chosen) keepShared(verb string) error {
	var kept []*graph.Node
	for _, n := range c.nodes {
		if tasks.Shares(n.Kind) && !embeddedPush(n) {
			kept = append(kept, n)
		}
	}
	if len(kept) == 0 {
		return usageError("there is nothing to %s: the targets have no image, pack or push to a registry elsewhere", verb)
	}
	var err error
	c.nodes, err = graph.Sort(kept)
	return err
}

// embeddedPush reports whether a node is a push to the embedded registry. Which
// registry it is depends on no output.
func embeddedPush(n *graph.Node) bool {
	if n.Kind != tasks.KindPush {
		return false
	}
	params, err := n.Bind(nil)
	p, ok := params.(tasks.Push)
	return err == nil && ok && p.Registry.Embedded
}

// runWarm does what is cold. The report is nil if nothing was tried.
func (a *app) runWarm(ctx context.Context, f *warmFlags, c *chosen, args []string, start time.Time) (*warmReport, error) {
	x, end, err := a.start(c, &f.runFlags, nil)
	if err != nil {
		return nil, err
	}
	defer end()
	x.record = x.history().Start(c.file.Project(), version(), targetsOf(&f.selection, args), start)
	endGroup := a.job().Group("bottlebuild warm " + c.file.Project())
	report, err := x.planAndExecute(ctx)
	endGroup()
	var r *warmReport
	if report != nil {
		shared := x.tellShared(f.progress == "quiet" || f.progress == "rawjson")
		r = x.warmed(report)
		r.SharedCache = shared
		err = errors.Join(err, report.Err(), x.worker.Scanner.Save(context.WithoutCancel(ctx)), x.worker.SaveDownloads())
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		a.summarize(report, time.Since(start), f.progress)
	}
	if err := x.recordEnd(ctx, report, err); err != nil && !a.rawProgress {
		fmt.Fprintln(a.stderr, "bottlebuild:", err)
	}
	if err == nil {
		x.release()
		x.trim(ctx)
	}
	return r, err
}

// checkWarm looks what is cold.
func (a *app) checkWarm(ctx context.Context, f *warmFlags, c *chosen) (*warmReport, error) {
	s, err := a.look()
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.share(c.file, &f.shared, true); err != nil {
		return nil, err
	}
	runner := s.runner(c)
	runner.Jobs = f.jobs
	plan, err := s.planNodes(ctx, runner, c.nodes)
	if err != nil {
		return nil, planError(err)
	}
	return s.checked(ctx, plan)
}

// takeShard leaves the nodes of one shard.
func (a *app) takeShard(c *chosen, f *warmFlags) error {
	if f.shard == "" {
		if f.timings != "" {
			return usageError("--timings says how --shard splits; give --shard too")
		}
		return nil
	}
	i, n, err := parseShard(f.shard)
	if err != nil {
		return usageError("--shard %q: %w", f.shard, err)
	}
	took, err := a.timings(c, f.timings)
	if err != nil {
		return err
	}
	shards, err := graph.Shards(c.nodes, n, took)
	if err != nil {
		return err
	}
	c.nodes = shards[i-1]
	return nil
}

// maxShards bounds the parts of --shard.
const maxShards = 1000

func parseShard(text string) (i, n int, err error) {
	// Only what is written back as it was read, without spaces and signs, is taken.
	_, err = fmt.Sscanf(text, "%d/%d", &i, &n)
	if err != nil || text != fmt.Sprintf("%d/%d", i, n) || n < 1 || n > maxShards || i < 1 || i > n {
		return 0, 0, fmt.Errorf("write I/N, as in 2/5, with I from 1 to N and N at most %d", maxShards)
	}
	return i, n, nil
}

// timings returns how long a node's work should take: as the file says or earlier
// runs do, else as is usual for its kind among those, else a second.
func (a *app) timings(c *chosen, file string) (func(*graph.Node) time.Duration, error) {
	var known map[string]float64
	var err error
	if file != "" {
		known, err = readTimings(file)
	} else {
		known, err = a.history().Durations(c.file.Project())
	}
	if err != nil {
		return nil, err
	}
	byKind := map[string][]float64{}
	for _, n := range c.nodes {
		if s, ok := known[n.Address]; ok {
			byKind[n.Kind] = append(byKind[n.Kind], s)
		}
	}
	for _, s := range byKind {
		slices.Sort(s)
	}
	return func(n *graph.Node) time.Duration {
		s, ok := known[n.Address]
		if usual := byKind[n.Kind]; !ok && len(usual) > 0 {
			s, ok = usual[len(usual)/2], true
		}
		if !ok {
			return time.Second
		}
		return seconds(s)
	}, nil
}
