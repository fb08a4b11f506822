package graph

import (
	"slices"

	"bottlebuild/cache"
)

// Estimate is what the work took when it was last done. Zero is not known.
type Estimate struct {
	Seconds float64 `json:"seconds"`
	Bytes   int64   `json:"bytes"`
	// Typical is set where it is not this node's own work that is known, but what
	// is typical for its kind.
	Typical bool `json:"typical,omitempty"`
}

// estimate takes over what the step's work took when it was last done. Where the
// kind has several actions, only the same action, or one alike, counts: to start a
// machine says nothing of what making one takes. If one of several will be taken, it
// is the longest of those that something is known of.
func (r *Runner) estimate(s *Step, recent []cache.Key) {
	s.Estimate = Estimate{}
	actions := s.Actions
	if len(actions) == 0 {
		actions = []string{s.Action}
	}
	for _, a := range actions {
		if e := r.took(s.Node, a, recent); e.Seconds > s.Estimate.Seconds {
			s.Estimate = e
		}
	}
}

// took returns what a node's work took that amounted to action, or to one alike: the
// latest as the cache has it, else what else is known of the past.
func (r *Runner) took(n *Node, action string, recent []cache.Key) Estimate {
	alike := []string{action}
	if r.Alike != nil {
		alike = r.Alike(action)
	}
	if len(recent) > 0 {
		if e, err := r.Cache.Get(recent[0]); err == nil && slices.Contains(alike, e.Action) {
			return Estimate{Seconds: e.Seconds, Bytes: e.Bytes}
		}
	}
	if r.Past == nil {
		return Estimate{}
	}
	return r.Past(n, alike...)
}

// Seconds is how long the step's work took when it was last done, or should take;
// 0 is not known.
func (s *Step) Seconds() float64 {
	if s.Decision == Hit {
		return s.saved.Seconds()
	}
	return s.Estimate.Seconds
}
