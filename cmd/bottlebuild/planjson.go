package main

import (
	"slices"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

// planFormat is the version of the plan's JSON form: names in it never change
// within a version.
const planFormat = "1"

// planJSON is a plan as plan --json prints it, and as a saved plan holds it.
// docs/plan.md describes it.
type planJSON struct {
	FormatVersion string        `json:"format_version"`
	Nodes         []stepJSON    `json:"nodes"`
	Forecast      *forecastJSON `json:"forecast,omitempty"` // if there is work
	Moved         []movedJSON   `json:"moved,omitempty"`    // if the lock file is behind
}

type stepJSON struct {
	Address  string          `json:"address"`
	Kind     string          `json:"kind"`
	Decision graph.Decision  `json:"decision"`
	Action   string          `json:"action,omitempty"`
	Actions  []string        `json:"actions,omitempty"` // where it is one of several, as inputs come out
	Key      *cache.Key      `json:"key,omitempty"`
	Where    string          `json:"where,omitempty"` // of a hit: the repository of a shared cache that it comes from
	Reasons  []graph.Reason  `json:"reasons,omitempty"`
	Estimate *graph.Estimate `json:"estimate,omitempty"`
}

// forecastJSON is what a run should take at most: if every maybe node runs.
type forecastJSON struct {
	Jobs           int      `json:"jobs"`
	ElapsedSeconds float64  `json:"elapsed_seconds"` // with that many jobs
	WorkSeconds    float64  `json:"work_seconds"`    // of all nodes together
	Bytes          int64    `json:"bytes"`
	CriticalPath   []string `json:"critical_path"` // addresses, first to last
	PathSeconds    float64  `json:"critical_path_seconds"`
	Unknown        int      `json:"unknown"` // nodes with work of which nothing is known
}

func describePlan(r *graph.Runner, p *graph.Plan) planJSON {
	out := planJSON{FormatVersion: planFormat, Nodes: make([]stepJSON, 0, len(p.Steps))}
	for _, s := range p.Steps {
		out.Nodes = append(out.Nodes, describeStep(s))
	}
	if run, maybe := p.Work(); run+maybe > 0 {
		f := r.Forecast(p)
		j := &forecastJSON{
			Jobs: r.Jobs, ElapsedSeconds: f.Elapsed.Seconds(), WorkSeconds: f.Work.Seconds(), Bytes: f.Bytes,
			PathSeconds: f.Chain.Seconds(), Unknown: f.Unknown, CriticalPath: []string{},
		}
		for _, s := range f.Critical {
			j.CriticalPath = append(j.CriticalPath, s.Node.Address)
		}
		out.Forecast = j
	}
	return out
}

func describeStep(s *graph.Step) stepJSON {
	j := stepJSON{Address: s.Node.Address, Kind: s.Node.Kind, Decision: s.Decision, Action: s.Action, Actions: s.Actions, Where: s.Where, Reasons: s.Reasons}
	if !s.Key.IsZero() {
		j.Key = &s.Key
	}
	if s.Estimate != (graph.Estimate{}) && s.Decision != graph.Hit {
		j.Estimate = &s.Estimate
	}
	return j
}

// outcome is as [graph.Step.Outcome].
func (s *stepJSON) outcome() string { return graph.Outcome(s.Action, s.Actions) }

// same tells a hit whose work another node of the plan does.
func (s *stepJSON) same() bool {
	return slices.ContainsFunc(s.Reasons, func(r graph.Reason) bool { return r.Cause == graph.SameWork })
}

// count returns how many nodes have a decision.
func (p *planJSON) count(d graph.Decision) (n int) {
	for _, s := range p.Nodes {
		if s.Decision == d {
			n++
		}
	}
	return n
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
