package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/graph"
	"bottlebuild/tasks"
)

type planFlags struct {
	selection
	jobs         int
	out          string
	json         bool
	detailedCode bool
}

func newPlanCommand(a *app) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan [FILE] [TARGET...]",
		Short: "Say what a run would do, and why, without doing it",
		Long: `Plan answers each node with one of
  hit    nothing to do: its output is there; or, shown as "same", another node of
         the plan does the same work for both
  run    its work will be done
  maybe  a dependency will run; it is skipped if that yields what it had before
and changes nothing, on disk or elsewhere. What a run will take is estimated from
earlier ones. With --out the plan is also saved: "bottlebuild run PLAN" does
exactly that, or says what has changed since and does nothing. A saved plan is
printed by "bottlebuild plan PLAN". See docs/plan.md for the JSON form.`,
		Example: `  bottlebuild plan
  bottlebuild plan bottles.hcl 'bottle.agent["claude"]'
  bottlebuild plan --only image --force image.base
  bottlebuild plan --out today.plan && bottlebuild run today.plan
  bottlebuild plan --detailed-exitcode --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.plan(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	a.addLocked(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print the plan as JSON")
	cmd.Flags().StringVar(&f.out, "out", "", "save the plan to this `FILE`, for run")
	cmd.Flags().BoolVar(&f.detailedCode, "detailed-exitcode", false, "exit with 2 if there is work to do")
	addJobs(cmd, &f.jobs)
	return cmd
}

func (a *app) plan(ctx context.Context, f *planFlags, args []string) error {
	if f.jobs < 1 {
		return usageError("--jobs %d: at least one is needed", f.jobs)
	}
	if f.out != "" {
		if err := checkOut(f.out); err != nil {
			return err
		}
	}
	saved, err := a.savedArgument(&f.selection, args)
	if err != nil {
		return err
	}
	var p planJSON
	if saved != nil {
		if f.out != "" {
			return usageError("--out: %s is a saved plan already", args[0])
		}
		p = saved.Plan
	} else if p, err = a.makePlan(ctx, f, args); err != nil {
		return err
	}
	if f.json {
		err = a.printJSON(p)
	} else {
		err = writePlan(a.stdout, &p, a.color(a.stdout))
		a.tellMoved(p.Moved)
		if saved != nil && err == nil {
			_, err = fmt.Fprintf(a.stdout, "Saved %s (%s), in %s.\n", ago(saved.Created), saved.Created.Local().Format(time.DateTime), saved.Dir)
		}
	}
	if err != nil {
		return err
	}
	if err := a.tellPlan(&p); err != nil {
		return err
	}
	if f.detailedCode && p.count(graph.Hit) < len(p.Nodes) {
		return &exitError{code: exitWork}
	}
	return nil
}

func (a *app) makePlan(ctx context.Context, f *planFlags, args []string) (planJSON, error) {
	f.read = &input{}
	c, err := a.choose(ctx, &f.selection, args)
	if err != nil {
		return planJSON{}, err
	}
	s, err := a.look()
	if err != nil {
		return planJSON{}, err
	}
	defer s.close()
	if err := s.share(c.file, &f.shared, true); err != nil {
		return planJSON{}, err
	}
	runner := s.runner(c)
	runner.Jobs = f.jobs
	plan, err := s.planNodes(ctx, runner, c.nodes)
	if err != nil {
		return planJSON{}, planError(err)
	}
	p := describePlan(runner, plan)
	if f.out != "" {
		err = s.savePlan(ctx, f, args, c.file, plan, p)
	}
	p.Moved = s.moved(ctx)
	return p, err
}

// The colours of decisions, as ANSI escapes.
var decisionColor = map[graph.Decision]string{graph.Hit: "\x1b[2m", graph.Run: "\x1b[32m", graph.Maybe: "\x1b[33m"}

// writePlan writes the plan as a table for people.
func writePlan(out io.Writer, p *planJSON, color bool) error {
	w := bufio.NewWriter(out)
	if err := writePlanTable(w, p, color); err != nil {
		return err
	}
	return w.Flush()
}

func writePlanTable(w io.Writer, p *planJSON, color bool) error {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	for _, s := range p.Nodes {
		fmt.Fprintf(tw, "%s\t%s\t%s\n", s.what(), s.Address, resultLine(s))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(table.String(), "\n"), "\n")
	for i, s := range p.Nodes {
		line := strings.TrimRight(lines[i], " \n")
		if color {
			line = decisionColor[s.Decision] + line + "\x1b[0m"
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintf(w, "\n%s\n", p.counts()); err != nil {
		return err
	}
	if f := p.Forecast; f != nil && f.WorkSeconds > 0 {
		return writeForecast(w, f)
	}
	return nil
}

// counts says how many nodes there are of each decision.
func (p *planJSON) counts() string {
	same := 0
	for _, s := range p.Nodes {
		if s.same() {
			same++
		}
	}
	text := fmt.Sprintf("%d to run, %d maybe, %d up to date", p.count(graph.Run), p.count(graph.Maybe), p.count(graph.Hit)-same)
	if same > 0 {
		text += fmt.Sprintf(", %d the same work as another", same)
	}
	return text + "."
}

// what is the decision, with what the work amounts to where that says more. A hit
// that has nothing to do because another node does it is not shown as one that
// is there.
func (s *stepJSON) what() string {
	if s.same() {
		return "same"
	}
	if action := s.outcome(); action != "" && s.Decision != graph.Hit {
		return string(s.Decision) + " (" + action + ")"
	}
	return string(s.Decision)
}

func writeForecast(w io.Writer, f *forecastJSON) error {
	text := fmt.Sprintf("By earlier runs: at most %s with -j %d (%s of work", shortDuration(seconds(f.ElapsedSeconds)), f.Jobs, shortDuration(seconds(f.WorkSeconds)))
	if f.Bytes > 0 {
		text += ", " + units.BytesSize(float64(f.Bytes))
	}
	text += ")"
	if f.Unknown > 0 {
		text += fmt.Sprintf(", and %d nodes of which nothing is known", f.Unknown)
	}
	if len(f.CriticalPath) > 1 {
		text += fmt.Sprintf(".\nThe longest chain takes %s: %s", shortDuration(seconds(f.PathSeconds)), chain(f.CriticalPath))
	}
	_, err := fmt.Fprintln(w, text+".")
	return err
}

// chain writes addresses as a path; of a long one only the ends.
func chain(addresses []string) string {
	const most = 6
	if len(addresses) > most {
		addresses = append(append(append([]string{}, addresses[:most/2]...), "…"), addresses[len(addresses)-most/2:]...)
	}
	return strings.Join(addresses, " → ")
}

// resultLine says in a line why a step runs, or where its result is if not here.
func resultLine(s stepJSON) string {
	if len(s.Reasons) == 0 && s.Where != "" {
		return "from " + s.Where
	}
	return reasonLine(s.Reasons)
}

// reasonLine says in a line why a step runs, by the first reasons, and all reasons
// for which it will fail.
func reasonLine(reasons []graph.Reason) string {
	const most = 3
	var texts []string
	left := 0
	for i, r := range reasons {
		if i >= most && !tasks.Fails(r.Cause) {
			left++
			continue
		}
		text := r.Text
		if short := 60; r.Before != "" && r.After != "" && len(r.Before)+len(r.After) < short {
			text += fmt.Sprintf(" (%s -> %s)", r.Before, r.After)
		}
		texts = append(texts, text)
	}
	if left > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", left))
	}
	return strings.Join(strings.Fields(strings.Join(texts, "; ")), " ")
}
