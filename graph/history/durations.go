package history

import (
	"slices"

	"bottlebuild/graph"
)

// Past is what is known of how long work takes.
type Past struct {
	own     map[work]graph.Estimate // by address, the latest
	typical map[work]graph.Estimate // by kind, what is in the middle
}

// work is what is compared: at an address, or of a kind, and what it amounted to.
type work struct{ of, action string }

// Of returns what the work of a node takes that amounts to the first of these
// actions of which something is known: what it took at that address, else what is
// typical for its kind. Zero is not known.
func (p Past) Of(n *graph.Node, actions ...string) graph.Estimate {
	for _, a := range actions {
		if e, ok := p.own[work{n.Address, a}]; ok {
			return e
		}
	}
	for _, a := range actions {
		if e, ok := p.typical[work{n.Kind, a}]; ok {
			return e
		}
	}
	return graph.Estimate{}
}

// Past reads what work took from the records of runs, the newest first, until
// there is enough of it. Addresses are those of a project.
func (l Log) Past(project string) (Past, error) {
	const runs, enough = 20, 50
	p := Past{own: map[work]graph.Estimate{}, typical: map[work]graph.Estimate{}}
	seconds, bytes := map[work][]float64{}, map[work][]int64{}
	n := 0
	err := l.Runs("", func(r *Run) bool {
		for _, node := range r.Nodes {
			if node.Status != graph.Ran || node.Seconds <= 0 {
				continue
			}
			own, kind := work{node.Address, node.Action}, work{node.Kind, node.Action}
			if _, newer := p.own[own]; !newer && r.Project == project {
				p.own[own] = graph.Estimate{Seconds: node.Seconds, Bytes: node.Bytes}
			}
			if len(seconds[kind]) < enough {
				seconds[kind] = append(seconds[kind], node.Seconds)
				bytes[kind] = append(bytes[kind], node.Bytes)
			}
		}
		n++
		return n < runs
	})
	for kind, s := range seconds {
		slices.Sort(s)
		slices.Sort(bytes[kind])
		p.typical[kind] = graph.Estimate{Seconds: s[len(s)/2], Bytes: bytes[kind][len(s)/2], Typical: true}
	}
	return p, err
}

// Durations returns, by address, how many seconds the work of a project's nodes
// took when it was last done, as far as the records tell.
func (l Log) Durations(project string) (map[string]float64, error) {
	seconds := map[string]float64{}
	err := l.Runs(project, func(r *Run) bool {
		for _, n := range r.Nodes {
			if _, newer := seconds[n.Address]; !newer && n.Status == graph.Ran {
				seconds[n.Address] = n.Seconds
			}
		}
		return true
	})
	return seconds, err
}
