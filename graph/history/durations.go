package history

import (
	"slices"

	"bottlebuild/graph"
)

// Typical returns, by kind, the middle of what work took in the records; runs
// are looked at until there is enough of it.
func (l Log) Typical() (map[string]graph.Estimate, error) {
	const runs, enough = 20, 50
	seconds, bytes := map[string][]float64{}, map[string][]int64{}
	n := 0
	err := l.Runs("", func(r *Run) bool {
		for _, node := range r.Nodes {
			if node.Status == graph.Ran && len(seconds[node.Kind]) < enough {
				seconds[node.Kind] = append(seconds[node.Kind], node.Seconds)
				bytes[node.Kind] = append(bytes[node.Kind], node.Bytes)
			}
		}
		n++
		return n < runs
	})
	typical := map[string]graph.Estimate{}
	for kind, s := range seconds {
		slices.Sort(s)
		slices.Sort(bytes[kind])
		typical[kind] = graph.Estimate{Seconds: s[len(s)/2], Bytes: bytes[kind][len(s)/2]}
	}
	return typical, err
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
