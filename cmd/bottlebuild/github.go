package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"

	"bottlebuild/cmd/bottlebuild/actions"
	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
)

// job returns the job of GitHub Actions that this process is a part of, or nil.
func (a *app) job() *actions.Job {
	if a.env("GITHUB_ACTIONS") != "true" || a.rawProgress {
		return nil
	}
	return &actions.Job{
		Log: a.stderr, Outputs: a.env("GITHUB_OUTPUT"), Summary: a.env("GITHUB_STEP_SUMMARY"), Workspace: a.env("GITHUB_WORKSPACE"),
	}
}

// annotate shows the faults and warnings of a bottle file at their places.
func (a *app) annotate(file *bottlefile.File, diags bottlefile.Diagnostics) {
	j := a.job()
	if j == nil {
		return
	}
	for _, d := range file.Report(diags) {
		n := actions.Annotation{Level: actions.Level(d.Severity), Title: d.Summary, Message: d.Detail}
		if d.Range != nil {
			n.File, n.Line, n.Column = absolute(d.Range.Filename), d.Range.Start.Line, d.Range.Start.Column
		}
		j.Annotate(n)
	}
}

// annotateNodes shows why nodes have failed where they are written.
func (a *app) annotateNodes(err error) {
	j := a.job()
	if j == nil {
		return
	}
	for _, e := range nodeErrors(err) {
		n := actions.Annotation{Level: actions.Error, Title: e.Node.Address, Message: e.Err.Error()}
		if i := strings.LastIndexByte(e.Node.Pos, ':'); i > 0 {
			n.File = absolute(e.Node.Pos[:i])
			n.Line, _ = strconv.Atoi(e.Node.Pos[i+1:])
		}
		j.Annotate(n)
	}
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// tellRun gives the step the outputs of a run, and the job a table of it.
func (a *app) tellRun(project string, r *graph.Report, outputs map[string]json.RawMessage, took time.Duration) error {
	j := a.job()
	if j == nil {
		return nil
	}
	values := map[string]string{}
	for name, v := range outputs {
		values[name] = string(v)
		var s string
		if json.Unmarshal(v, &s) == nil { // a string stands there without its quotes
			values[name] = s
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### bottlebuild run: %s\n\n%s\n\n| | node | action | time | size |\n|---|---|---|--:|--:|\n", actions.Cell(filepath.Base(project)), countsText(r, took))
	for _, res := range r.Results {
		took, size := "", ""
		if res.Elapsed > 0 {
			took = shortDuration(res.Elapsed)
		}
		if res.Bytes > 0 {
			size = units.BytesSize(float64(res.Bytes))
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s | %s | %s |\n", statusMark[res.Status], res.Status, actions.Cell(res.Node.Address), res.Action, took, size)
	}
	for _, res := range r.Results {
		if res.Status == graph.Failed {
			fmt.Fprintf(&b, "\n<details><summary>%s failed</summary>\n\n%s\n</details>\n", actions.Cell(res.Node.Address), actions.Cell(res.Err.Error()))
		}
	}
	b.WriteString("\n")
	return errors.Join(j.SetOutputs(values), j.Summarize(b.String()))
}

var statusMark = map[graph.Status]string{graph.Ran: "✅", graph.Cached: "⚪", graph.Skipped: "⏭️", graph.Failed: "❌"}

// tellPlan gives the job a table of a plan.
func (a *app) tellPlan(p *planJSON) error {
	j := a.job()
	if j == nil {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### bottlebuild plan\n\n%s\n\n| | node | why |\n|---|---|---|\n", p.counts())
	for _, s := range p.Nodes {
		if s.Decision != graph.Hit {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", s.what(), actions.Cell(s.Address), actions.Cell(reasonLine(s.Reasons)))
		}
	}
	b.WriteString("\n")
	return j.Summarize(b.String())
}
