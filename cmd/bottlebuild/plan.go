package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

type planFlags struct {
	fileFlags
	json         bool
	detailedCode bool
}

func newPlanCommand(a *app) *cobra.Command {
	var f planFlags
	cmd := &cobra.Command{
		Use:   "plan [FILE] [TARGET...]",
		Short: "Say what a run would do, and why, without doing it",
		Long: `Plan answers each node with one of
  hit    nothing to do: its output is there
  run    its work will be done
  maybe  a dependency will run; it is skipped if that yields what it had before
and changes nothing.`,
		Example: `  bottlebuild plan
  bottlebuild plan bottles.hcl 'bottle.agent["claude"]'
  bottlebuild plan --detailed-exitcode --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.plan(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.json, "json", false, "print the plan as JSON")
	cmd.Flags().BoolVar(&f.detailedCode, "detailed-exitcode", false, "exit with 2 if there is work to do")
	return cmd
}

func (a *app) plan(ctx context.Context, f *planFlags, args []string) error {
	file, nodes, err := a.nodes(ctx, &f.fileFlags, args)
	if err != nil {
		return err
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	plan, err := s.runner(file).Plan(ctx, nodes)
	if err != nil {
		return planError(err)
	}
	if f.json {
		err = writePlanJSON(a.stdout, plan)
	} else {
		err = writePlan(a.stdout, plan, a.color(a.stdout))
	}
	if err != nil {
		return err
	}
	if run, maybe := plan.Work(); f.detailedCode && run+maybe > 0 {
		return &exitError{code: exitWork}
	}
	return nil
}

// planFormat is the version of the plan's JSON form: names in it never change
// within a version.
const planFormat = "1"

type planJSON struct {
	FormatVersion string     `json:"format_version"`
	Nodes         []stepJSON `json:"nodes"`
}

type stepJSON struct {
	Address  string          `json:"address"`
	Kind     string          `json:"kind"`
	Decision graph.Decision  `json:"decision"`
	Action   string          `json:"action,omitempty"`
	Key      *cache.Key      `json:"key,omitempty"`
	Reasons  []graph.Reason  `json:"reasons,omitempty"`
	Estimate *graph.Estimate `json:"estimate,omitempty"`
}

func writePlanJSON(w io.Writer, p *graph.Plan) error {
	out := planJSON{FormatVersion: planFormat, Nodes: []stepJSON{}}
	for _, s := range p.Steps {
		j := stepJSON{Address: s.Node.Address, Kind: s.Node.Kind, Decision: s.Decision, Action: s.Action, Reasons: s.Reasons}
		if !s.Key.IsZero() {
			j.Key = &s.Key
		}
		if s.Estimate != (graph.Estimate{}) {
			j.Estimate = &s.Estimate
		}
		out.Nodes = append(out.Nodes, j)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(out)
}

// The colours of decisions, as ANSI escapes.
var decisionColor = map[graph.Decision]string{graph.Hit: "\x1b[2m", graph.Run: "\x1b[32m", graph.Maybe: "\x1b[33m"}

// writePlan writes the plan as a table for people.
func writePlan(w io.Writer, p *graph.Plan, color bool) error {
	var table strings.Builder
	tw := tabwriter.NewWriter(&table, 0, 8, 2, ' ', 0)
	var total graph.Estimate
	for _, s := range p.Steps {
		total.Seconds += s.Estimate.Seconds
		total.Bytes += s.Estimate.Bytes
		what := string(s.Decision)
		if s.Action != "" && s.Decision != graph.Hit {
			what += " (" + s.Action + ")"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", what, s.Node.Address, reasonText(s))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	lines := strings.SplitAfter(strings.TrimSuffix(table.String(), "\n"), "\n")
	for i, s := range p.Steps {
		line := strings.TrimRight(lines[i], " \n")
		if color {
			line = decisionColor[s.Decision] + line + "\x1b[0m"
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	run, maybe := p.Work()
	text := fmt.Sprintf("\n%d to run, %d maybe, %d up to date", run, maybe, len(p.Steps)-run-maybe)
	if total.Seconds > 0 {
		text += fmt.Sprintf("; last time this took %s of work", shortDuration(time.Duration(total.Seconds*float64(time.Second))))
		if total.Bytes > 0 {
			text += " and made " + units.BytesSize(float64(total.Bytes))
		}
	}
	_, err := fmt.Fprintln(w, text+".")
	return err
}

// reasonText says in a line why a step runs.
func reasonText(s *graph.Step) string {
	const most = 3
	var texts []string
	for i, r := range s.Reasons {
		if i == most {
			texts = append(texts, fmt.Sprintf("and %d more", len(s.Reasons)-i))
			break
		}
		text := r.Text
		if short := 60; r.Before != "" && r.After != "" && len(r.Before)+len(r.After) < short {
			text += fmt.Sprintf(" (%s -> %s)", r.Before, r.After)
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}
