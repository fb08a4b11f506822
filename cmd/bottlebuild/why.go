package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"bottlebuild/graph"
)

func newWhyCommand(a *app) *cobra.Command {
	var f selection
	var asJSON, recipe bool
	cmd := &cobra.Command{
		Use:   "why [FILE] ADDRESS...",
		Short: "Explain what plan says of a node",
		Long: `Why tells all that is known of why a node will run or will not: every component
that differs from the recipe of its earlier work, which files have changed, what
the cache or the world has lost; of a node that depends on others that run, what
started it; and of one that is up to date when, and by which run, it was built.
A node that was never built is compared with the work that differs least from it.
ADDRESS is a target: why bottle.agent explains each node of that bottle. Nothing
is changed. docs/plan.md lists the causes, and the JSON form.`,
		Example: `  bottlebuild why image.base
  bottlebuild why bottles.hcl 'bottle.agent["claude"].pack' --recipe
  bottlebuild why 'image.*' --json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.why(cmd.Context(), &f, args, recipe, asJSON) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&recipe, "recipe", false, "print every component that decides the output")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the explanation as JSON")
	return cmd
}

func (a *app) why(ctx context.Context, f *selection, args []string, recipe, asJSON bool) error {
	_, targets, err := f.locate(args)
	if err != nil {
		return err
	}
	if len(targets) == 0 {
		return usageError("why: name a node; see: bottlebuild plan")
	}
	c, err := a.choose(ctx, f, args)
	if err != nil {
		return err
	}
	asked, diags := c.file.Matching(targets)
	if err := a.diagnose(c.file, diags); err != nil {
		return err
	}
	s, err := a.look()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.share(c.file, &f.shared, true); err != nil {
		return err
	}
	runner := s.runner(c)
	plan, err := s.planNodes(ctx, runner, c.nodes)
	if err != nil {
		return planError(err)
	}
	w := &explanation{session: s, runner: runner, steps: map[*graph.Node]*graph.Step{}, seen: map[*graph.Node]bool{}}
	for _, step := range plan.Steps {
		w.steps[step.Node] = step
	}
	all := []whyJSON{}
	for _, n := range asked {
		if step := w.steps[n]; step != nil && !w.seen[n] {
			w.seen[n] = true
			j, err := w.explain(ctx, step)
			if err != nil {
				return err
			}
			all = append(all, j)
		}
	}
	if asJSON {
		return a.printJSON(map[string]any{"format_version": planFormat, "nodes": all})
	}
	for i := range all {
		if i > 0 {
			fmt.Fprintln(a.stdout)
		}
		a.printWhy(&all[i], recipe)
	}
	return nil
}
