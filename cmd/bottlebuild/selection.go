package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
	"bottlebuild/tasks"
)

// stages are the kinds of nodes, in the order in which a bottle goes through them.
var stages = []string{tasks.KindImage, tasks.KindExport, tasks.KindPush, tasks.KindPack, tasks.KindMachine}

// selection are the flags of commands that work on the nodes of a bottle file:
// which file, which of its nodes, and which shared cache.
type selection struct {
	fileFlags
	only    []string
	until   string
	force   []string
	noCache bool
	shared  cacheFlags
}

func (f *selection) add(cmd *cobra.Command) {
	f.fileFlags.add(cmd)
	f.shared.add(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&f.only, "only", nil, "of the targets, only nodes of this `KIND` and what they need: "+strings.Join(stages, ", ")+"; repeatable, or with commas")
	fl.StringVar(&f.until, "until", "", "leave out every stage after this `KIND`: --until pack boots no machine")
	textsFlag(cmd, &f.force, "force", "", "do the work of this `TARGET` again, whatever the cache has; repeatable")
	fl.BoolVar(&f.noCache, "no-cache", false, "do all work again, except that machines are replaced only if what they are made from is another")
}

// narrowed tells whether any flag but those of the file was given.
func (f *selection) narrowed() bool {
	return len(f.only) > 0 || f.until != "" || len(f.force) > 0 || f.noCache
}

// chosen are a bottle file and the nodes of it that a command is for.
type chosen struct {
	file   *bottlefile.File
	nodes  []*graph.Node
	forced map[*graph.Node]bool
}

// choose loads the bottle file and finds the nodes that args and flags ask for.
func (a *app) choose(ctx context.Context, f *selection, args []string) (*chosen, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	file, targets, err := a.load(ctx, &f.fileFlags, args)
	if err != nil {
		return nil, err
	}
	nodes, diags := file.Nodes(targets)
	if err := a.diagnose(file, diags); err != nil {
		return nil, err
	}
	if err := a.checkLocked(ctx, file, nodes); err != nil {
		return nil, err
	}
	c := &chosen{file: file, nodes: nodes, forced: map[*graph.Node]bool{}}
	if err := c.narrow(f); err != nil {
		return nil, err
	}
	return c, a.markForced(c, f)
}

func (f *selection) check() error {
	for _, k := range f.only {
		if !slices.Contains(stages, k) {
			return unknownKind("--only", k)
		}
	}
	if f.until != "" && !slices.Contains(stages, f.until) {
		return unknownKind("--until", f.until)
	}
	return nil
}

func unknownKind(flag, kind string) error {
	for _, s := range stages {
		if strings.TrimSuffix(strings.ToLower(kind), "s") == s || len(kind) > 1 && strings.HasPrefix(s, kind) {
			return usageError("%s %s: there is no such kind of node; did you mean %q?", flag, kind, s)
		}
	}
	return usageError("%s %s: there is no such kind of node; use %s", flag, kind, strings.Join(stages, ", "))
}

// narrow keeps the nodes that --only and --until leave, and what they need.
func (c *chosen) narrow(f *selection) error {
	if len(f.only) == 0 && f.until == "" {
		return nil
	}
	last := len(stages)
	if f.until != "" {
		last = slices.Index(stages, f.until)
	}
	var kept []*graph.Node
	for _, n := range c.nodes {
		if (len(f.only) == 0 || slices.Contains(f.only, n.Kind)) && slices.Index(stages, n.Kind) <= last {
			kept = append(kept, n)
		}
	}
	if len(kept) == 0 {
		return usageError("nothing is left of the targets: none of their nodes is one that --only and --until ask for; see: bottlebuild plan")
	}
	var err error
	c.nodes, err = graph.Sort(kept)
	return err
}

// markForced finds the nodes that --force and --no-cache mean, and has their
// work leave nothing of an earlier time.
func (a *app) markForced(c *chosen, f *selection) error {
	selected := make(map[*graph.Node]bool, len(c.nodes))
	for _, n := range c.nodes {
		selected[n] = true
		if f.noCache && n.Kind != tasks.KindMachine {
			c.forced[n] = true
		}
	}
	for _, target := range f.force {
		nodes, diags := c.file.Matching([]string{target})
		if err := a.diagnose(c.file, diags); err != nil {
			return err
		}
		any := false
		for _, n := range nodes {
			if selected[n] {
				c.forced[n] = true
				any = true
			}
		}
		if !any {
			return usageError("--force %s: none of its nodes is among those that are asked for; name it as a target too", target)
		}
	}
	for n := range c.forced {
		bind := n.Bind
		n.Bind = func(in graph.Inputs) (graph.Params, error) {
			p, err := bind(in)
			if err != nil {
				return p, err
			}
			return tasks.Again(p), nil
		}
	}
	return nil
}
