package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/cmd/bottlebuild/actions"
	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// warmState says whether something is in the cache.
type warmState string

// The states.
const (
	warmReady  warmState = "ready"
	warmCold   warmState = "cold"
	warmFailed warmState = "failed" // its work was tried
)

// warmReport is what warm --json prints.
type warmReport struct {
	FormatVersion string `json:"format_version"`
	Shard         string `json:"shard,omitempty"` // "2/5"
	Ready         int    `json:"ready"`           // targets
	Cold          int    `json:"cold"`            // targets, failed ones too
	// Targets are the bottles, and the images and pushes that no bottle needs.
	Targets []warmTarget `json:"targets"`
	Nodes   []warmNode   `json:"nodes"`
	// SharedCache is what was moved, if there is a shared cache.
	SharedCache *remote.Stats `json:"shared_cache,omitempty"`
}

type warmTarget struct {
	Address string    `json:"address"` // "bottle.web", "image.base"
	State   warmState `json:"state"`
	// Because are the nodes that keep it from being ready, and why.
	Because []warmReason `json:"because,omitempty"`
}

type warmReason struct {
	Address string `json:"address"`
	Text    string `json:"text"`
}

type warmNode struct {
	Address string     `json:"address"`
	Kind    string     `json:"kind"`
	State   warmState  `json:"state"`
	Key     *cache.Key `json:"key,omitempty"`
	Seconds float64    `json:"seconds"` // that its work took, or takes by earlier runs; 0: not known
	why     string
	node    *graph.Node
}

const warmFormat = "1"

// warmed is the report of a run.
func (x *execution) warmed(report *graph.Report) *warmReport {
	r := &warmReport{}
	for _, res := range report.Results {
		n := warmNode{State: warmReady, Seconds: (res.Elapsed + res.Saved).Seconds(), node: res.Node}
		if !res.Key.IsZero() {
			n.Key = &res.Key
		}
		switch {
		case res.Status == graph.Failed:
			n.State, n.why = warmFailed, res.Err.Error()
		case res.Status == graph.Skipped:
			n.State = warmCold
			if res.Err != nil {
				n.why = res.Err.Error()
			}
		case x.shared != nil && tasks.Shares(res.Node.Kind) && !x.shared.Stored(res.Key):
			n.State, n.why = warmCold, "it is here, and could not be stored in the shared cache"
		}
		r.Nodes = append(r.Nodes, n)
	}
	return r
}

// checked is the report of a plan. What is here counts for nothing where others
// look into a shared cache.
func (s *session) checked(ctx context.Context, plan *graph.Plan) (*warmReport, error) {
	r := &warmReport{Nodes: make([]warmNode, len(plan.Steps))}
	elsewhere := s.shared != nil && s.shared.Reads()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(256)
	for i, step := range plan.Steps {
		n := &r.Nodes[i]
		*n = warmNode{State: warmReady, Seconds: step.Seconds(), node: step.Node}
		if !step.Key.IsZero() {
			n.Key = &step.Key
		}
		switch {
		case step.Decision != graph.Hit, step.SameAs != nil && step.SameAs.Decision != graph.Hit:
			n.State, n.why = warmCold, reasonLine(step.Reasons)
		case elsewhere && n.Key != nil && tasks.Shares(step.Node.Kind):
			g.Go(func() error {
				_, err := s.shared.Find(gctx, step.Key)
				switch {
				case errors.Is(err, cache.ErrUncertain):
					n.State, n.why = warmCold, "the shared cache could not be asked: "+cache.Uncertainty(err)
				case errors.Is(err, cache.ErrMiss):
					n.State, n.why = warmCold, "it is here, and not in the shared cache"
				case err != nil:
					return err
				}
				return nil
			})
		}
	}
	return r, g.Wait()
}

// complete fills in what follows from the nodes.
func (r *warmReport) complete(shard string) {
	r.FormatVersion, r.Shard, r.Targets = warmFormat, shard, []warmTarget{}
	if r.Nodes == nil {
		r.Nodes = []warmNode{}
	}
	needed, states := map[*graph.Node]bool{}, map[*graph.Node]*warmNode{}
	for i := range r.Nodes {
		n := &r.Nodes[i]
		n.Address, n.Kind = n.node.Address, n.node.Kind
		states[n.node] = n
		for _, d := range n.node.Deps {
			needed[d] = true
		}
	}
	at := map[string]int{}
	for _, n := range r.Nodes {
		if needed[n.node] || !tasks.Shares(n.Kind) {
			continue
		}
		name := ownerOf(n.node)
		if _, ok := at[name]; !ok {
			at[name] = len(r.Targets)
			r.Targets = append(r.Targets, warmTarget{Address: name, State: warmReady})
		}
		all, _ := graph.Sort([]*graph.Node{n.node}) // it was sorted with the others without an error
		for _, d := range all {
			if s := states[d]; s != nil {
				r.Targets[at[name]].needs(s)
			}
		}
	}
	for _, t := range r.Targets {
		if t.State == warmReady {
			r.Ready++
		} else {
			r.Cold++
		}
	}
}

// ownerOf returns the address of the bottle whose node it is; of other nodes it is
// their own.
func ownerOf(n *graph.Node) string {
	if i := strings.LastIndex(n.Address, "."+n.Kind); i > 0 {
		return n.Address[:i]
	}
	return n.Address
}

// needs takes the state of a node into that of the target.
func (t *warmTarget) needs(n *warmNode) {
	seen := func(r warmReason) bool { return r.Address == n.Address }
	switch {
	case n.State == warmReady || slices.ContainsFunc(t.Because, seen):
		return
	case n.State == warmFailed:
		t.State = warmFailed
	case t.State == warmReady:
		t.State = warmCold
	}
	t.Because = append(t.Because, warmReason{n.Address, n.why})
}

// counts says how many targets are ready.
func (r *warmReport) counts() string {
	text := fmt.Sprintf("%d ready, %d cold", r.Ready, r.Cold)
	if r.Shard != "" {
		text += fmt.Sprintf(" in shard %s", r.Shard)
	}
	return text
}

// why is the first reason in a line; the others are mostly consequences of it.
func (t *warmTarget) why() string {
	if len(t.Because) == 0 {
		return ""
	}
	first := t.Because[0]
	text := strings.Join(strings.Fields(first.Text), " ")
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return first.Address + ": " + text
}

func (r *warmReport) print(out io.Writer) error {
	var rows [][]string
	for _, t := range r.Targets {
		rows = append(rows, []string{string(t.State), t.Address, t.why()})
	}
	if err := printTable(out, rows); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "\n%s.\n", r.counts())
	return err
}

// tellWarm gives the job a table of the report.
func (a *app) tellWarm(project string, r *warmReport) error {
	j := a.job()
	if j == nil {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "### bottlebuild warm: %s\n\n%s\n\n| | target | why |\n|---|---|---|\n", actions.Cell(filepath.Base(project)), r.counts())
	mark := map[warmState]string{warmReady: "✅", warmCold: "❄️", warmFailed: "❌"}
	for _, t := range r.Targets {
		fmt.Fprintf(&b, "| %s %s | %s | %s |\n", mark[t.State], t.State, actions.Cell(t.Address), actions.Cell(t.why()))
	}
	b.WriteString("\n")
	return j.Summarize(b.String())
}

// readTimings returns by address how long work took, of a report.
func readTimings(file string) (map[string]float64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, usageError("--timings: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxTimings))
	if err != nil {
		return nil, usageError("--timings: %w", err)
	}
	var r warmReport
	if err := json.Unmarshal(b, &r); err != nil || r.FormatVersion != warmFormat {
		return nil, usageError("--timings: %s is no report that \"bottlebuild warm --json\" of this version has printed", file)
	}
	known := map[string]float64{}
	for _, n := range r.Nodes {
		if n.Seconds > 0 && n.Seconds < math.MaxInt32 {
			known[n.Address] = n.Seconds
		}
	}
	return known, nil
}

// maxTimings bounds a report that is read, in bytes.
const maxTimings = 64 << 20
