package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/graph/history"
)

// whyJSON is what why --json prints of a node. docs/plan.md describes it.
type whyJSON struct {
	stepJSON
	Pos     string       `json:"pos"`
	Built   *builtJSON   `json:"built,omitempty"`   // of its result, or of the latest one
	Nearest *nearestJSON `json:"nearest,omitempty"` // of a node that was never built
	Depends []dependency `json:"depends_on"`
	Roots   []rootJSON   `json:"roots,omitempty"` // of a maybe: what it is because of
	Recipe  []component  `json:"recipe"`          // what decides the output, as far as that is known
}

type builtJSON struct {
	Key     cache.Key     `json:"key"`
	Digest  *cache.Digest `json:"digest,omitempty"`
	Created time.Time     `json:"created"`
	Seconds float64       `json:"seconds"`
	Bytes   int64         `json:"bytes"`
	Address string        `json:"address"`       // of the node whose work it was
	Run     string        `json:"run,omitempty"` // see runs show; left out if its record is gone
}

// nearestJSON is the earlier work that differs least, of another address.
type nearestJSON struct {
	builtJSON
	Reasons []graph.Reason `json:"reasons"`
}

type dependency struct {
	Address  string         `json:"address"`
	Decision graph.Decision `json:"decision"`
}

type rootJSON struct {
	Address string         `json:"address"`
	Reasons []graph.Reason `json:"reasons"`
}

type component struct {
	Name  string `json:"name"`
	Value string `json:"value"` // "(sensitive)" if it is not to be shown
}

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
	if err := a.noSaved("why", f, args); err != nil {
		return err
	}
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

// explanation gathers what is known of nodes.
type explanation struct {
	*session
	runner *graph.Runner
	steps  map[*graph.Node]*graph.Step
	seen   map[*graph.Node]bool
}

func (w *explanation) explain(ctx context.Context, s *graph.Step) (whyJSON, error) {
	j := whyJSON{stepJSON: describeStep(s), Pos: s.Node.Pos, Depends: []dependency{}, Recipe: []component{}}
	for _, d := range s.Node.Deps {
		j.Depends = append(j.Depends, dependency{d.Address, w.steps[d].Decision})
	}
	if text := s.RecipeText(); text != "" {
		r, err := cache.ParseRecipe(text)
		if err != nil {
			return j, err
		}
		for _, c := range r.Components {
			if c.Type == cache.TypeHidden {
				c.Value = "(sensitive)"
			}
			j.Recipe = append(j.Recipe, component{c.Name, c.Value})
		}
	}
	if s.Decision == graph.Maybe || s.Decision == graph.Run {
		w.roots(s, &j, map[*graph.Node]bool{s.Node: true})
	}
	key, err := s.Key, error(nil)
	if s.Decision != graph.Hit || s.SameAs != nil {
		key, err = w.store.Latest(w.runner.Scope, s.Node.Address)
	}
	if err == nil {
		j.Built, err = w.built(key)
	}
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		return j, err
	}
	if j.Built == nil && s.Decision != graph.Hit {
		return j, w.nearest(ctx, s, &j)
	}
	return j, nil
}

// roots finds the nodes that will run for a reason of their own, because of
// which a step waits.
func (w *explanation) roots(s *graph.Step, j *whyJSON, seen map[*graph.Node]bool) {
	for _, d := range s.Node.Deps {
		step := w.steps[d]
		if seen[d] || step.Decision == graph.Hit {
			continue
		}
		seen[d] = true
		if own := ownReasons(step.Reasons); len(own) > 0 {
			j.Roots = append(j.Roots, rootJSON{d.Address, own})
		}
		w.roots(step, j, seen)
	}
}

func ownReasons(reasons []graph.Reason) (own []graph.Reason) {
	for _, r := range reasons {
		if r.Cause != graph.Dependency {
			own = append(own, r)
		}
	}
	return own
}

// built returns how the result of a key came to be.
func (w *explanation) built(k cache.Key) (*builtJSON, error) {
	e, err := w.store.Get(k)
	if err != nil {
		return nil, err
	}
	b := &builtJSON{Key: k, Created: e.Created, Seconds: e.Seconds, Bytes: e.Bytes, Address: e.Address}
	if !e.Output.Digest.IsZero() {
		b.Digest = &e.Output.Digest
	}
	return b, w.history().Runs("", func(r *history.Run) bool {
		for _, n := range r.Nodes {
			if n.Status == graph.Ran && n.Key != nil && *n.Key == k {
				b.Run = r.ID
			}
		}
		return b.Run == ""
	})
}

// maxCompared bounds with how many earlier results a new node is compared.
const maxCompared = 200

// nearest compares a node that was never built with the work of other addresses
// that the history knows of.
func (w *explanation) nearest(ctx context.Context, s *graph.Step, j *whyJSON) error {
	var keys []cache.Key
	known := map[cache.Key]bool{}
	err := w.history().Runs("", func(r *history.Run) bool {
		for _, n := range r.Nodes {
			if n.Kind == s.Node.Kind && n.Key != nil && !known[*n.Key] && len(keys) < maxCompared {
				known[*n.Key] = true
				keys = append(keys, *n.Key)
			}
		}
		return len(keys) < maxCompared
	})
	if err != nil {
		return err
	}
	k, reasons, ok := w.runner.Nearest(ctx, s, keys)
	if !ok {
		return nil
	}
	b, err := w.built(k)
	if errors.Is(err, cache.ErrMiss) {
		return nil
	}
	if err != nil {
		return err
	}
	j.Nearest = &nearestJSON{*b, reasons}
	return nil
}

// printWhy writes an explanation for people.
func (a *app) printWhy(j *whyJSON, recipe bool) {
	out := a.stdout
	fmt.Fprintf(out, "%s (%s): %s\n", j.Address, j.Pos, verdictText(j))
	for _, r := range j.Reasons {
		fmt.Fprintf(out, "  %s: %s\n", r.Cause, indentRest(r.Text))
		printValues(out, r)
	}
	if len(j.Roots) > 0 {
		fmt.Fprintln(out, "  which starts with:")
		for _, r := range j.Roots {
			fmt.Fprintf(out, "    %s: %s\n", r.Address, reasonLine(r.Reasons))
		}
	}
	if b := j.Built; b != nil {
		what := "built"
		if j.Decision != graph.Hit {
			what = "last built"
		}
		fmt.Fprintf(out, "  %s %s\n", what, builtText(b, j.Address))
	}
	if n := j.Nearest; n != nil {
		fmt.Fprintf(out, "  nearest to it is %s, built %s, of which differ:\n", n.Address, builtText(&n.builtJSON, n.Address))
		for _, r := range n.Reasons {
			fmt.Fprintf(out, "    %s: %s\n", r.Cause, reasonLine([]graph.Reason{r}))
		}
	}
	if len(j.Depends) > 0 {
		var deps []string
		for _, d := range j.Depends {
			deps = append(deps, fmt.Sprintf("%s (%s)", d.Address, d.Decision))
		}
		fmt.Fprintf(out, "  depends on %s\n", strings.Join(deps, ", "))
	}
	if j.Key != nil {
		fmt.Fprintf(out, "  key %s, of %d components\n", j.Key, len(j.Recipe))
	}
	if recipe {
		for _, c := range j.Recipe {
			fmt.Fprintf(out, "    %s = %s\n", c.Name, c.Value)
		}
	}
}

func verdictText(j *whyJSON) string {
	switch {
	case j.Decision == graph.Hit:
		return "up to date"
	case j.Decision == graph.Maybe:
		return "will run, unless what it depends on yields what it had before"
	case j.Action != "":
		return "will run (" + j.Action + ")"
	}
	return "will run"
}

func builtText(b *builtJSON, address string) string {
	text := fmt.Sprintf("%s (%s), in %s", ago(b.Created), b.Created.Local().Format(time.DateTime), shortDuration(seconds(b.Seconds)))
	if b.Bytes > 0 {
		text += ", " + units.BytesSize(float64(b.Bytes))
	}
	if b.Address != address {
		text += ", as " + b.Address
	}
	if b.Run != "" {
		text += ", by run " + b.Run
	}
	return text
}

// printValues writes what a component was and is, where there is anything to see.
func printValues(out io.Writer, r graph.Reason) {
	if r.Before != "" && r.Cause != graph.SameWork {
		fmt.Fprintf(out, "    was %s\n", indentRest(r.Before))
	}
	if r.After != "" && r.Cause != graph.SameWork {
		fmt.Fprintf(out, "    is  %s\n", indentRest(r.After))
	}
}

func indentRest(text string) string {
	return strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n      ")
}
