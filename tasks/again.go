package tasks

import "bottlebuild/graph"

// Again returns parameters for the same work, done so that nothing of an earlier
// time is left in it: every step of an image is built again, a machine is
// replaced.
func Again(p graph.Params) graph.Params {
	switch p := p.(type) {
	case Image:
		p.NoCache = true
		return p
	case Machine:
		p.Recreate = true
		return p
	}
	return p
}
