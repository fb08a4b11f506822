package graph

import (
	"context"
	"errors"
	"slices"

	"bottlebuild/cache"
)

// Explainer is a [Worker] that can say more of a changed component than that it
// is another, such as which files of a directory have changed.
type Explainer interface {
	// Explain returns what says it of changes of one node, at once: what it had to
	// look at for one change serves for the next.
	Explain(ctx context.Context, s Spec) func(cache.Change) []Reason
}

// explain adds to a step that will run why it will: what the world has lost, as
// the worker said; else what differs from the nearest recipe that the node had.
func (r *Runner) explain(ctx context.Context, s *Step, forced bool, miss error) {
	recent := r.recent(s.Node)
	r.estimate(s, recent)
	switch said := len(s.Reasons) > 0; { // by the worker
	case forced:
		s.Reasons = []Reason{forcedReason}
	case !said && errors.Is(miss, cache.ErrDamaged): // and evicted, if it is of a blob
		s.Reasons = []Reason{{Cause: Damaged, Component: "cache", Text: "damaged in the cache"}}
	case !said && errors.Is(miss, cache.ErrEvicted):
		s.Reasons = []Reason{evictedReason}
	case len(recent) == 0 && miss != nil && !s.ofWorld: // what the worker misses was never there
		s.Reasons = append(r.elsewhere(ctx, s), s.Reasons...)
	case said:
	case miss != nil && slices.Contains(recent, s.Key):
		s.Reasons = []Reason{evictedReason}
	default:
		s.Reasons = r.differences(ctx, s, recent)
	}
	s.Reasons = append(s.Reasons, s.notes...)
}

var (
	neverBuilt    = Reason{Cause: NeverBuilt, Component: "history", Text: "never built here"}
	forcedReason  = Reason{Cause: Forced, Component: "force", Text: "forced"}
	evictedReason = Reason{Cause: Evicted, Component: "cache", Text: "evicted from the cache"}
)

// explainUnknown adds to a step whose inputs are not all known which dependencies
// keep them so, and what else differs from the nearest recipe that the node had.
func (r *Runner) explainUnknown(ctx context.Context, s *Step, waits []*Step) {
	recent := r.recent(s.Node)
	r.estimate(s, recent)
	switch {
	case r.forced(s):
		s.Reasons = []Reason{forcedReason}
	case s.ofWorld || len(s.Reasons) > 0 && len(recent) > 0: // the worker has said why
	case len(recent) == 0 && s.Decision == Run:
		s.Reasons = []Reason{neverBuilt}
	case len(recent) > 0 && s.recipe != nil:
		s.Reasons = r.differences(ctx, s, recent)
	}
	for _, d := range waits {
		s.Reasons = append(s.Reasons, Reason{Cause: Dependency, Component: d.Node.Address, Text: d.Node.Address + " " + d.prospect()})
	}
	s.Reasons = append(s.Reasons, s.notes...)
}

// prospect says of a step with work whether that will be done.
func (s *Step) prospect() string {
	if s.Decision == Maybe {
		return "may run"
	}
	return "will run"
}

// recent returns the keys that the node had when it was done here, the newest
// first.
func (r *Runner) recent(n *Node) []cache.Key {
	keys, err := r.Cache.Recent(r.Scope, n.Address)
	if err != nil {
		return nil // what cannot be read explains nothing
	}
	return keys
}

// elsewhere compares a step that was never done here with what it was when it
// was last done on another machine.
func (r *Runner) elsewhere(ctx context.Context, s *Step) []Reason {
	if !r.shares(s.Node.Kind) {
		return []Reason{neverBuilt}
	}
	text, ok := r.Shared.Latest(s.Node.Address)
	if !ok {
		return []Reason{neverBuilt}
	}
	before, err := cache.ParseRecipe(text)
	if err != nil {
		return []Reason{neverBuilt}
	}
	if reasons := r.compare(ctx, s, before); len(reasons) > 0 {
		return reasons
	}
	return []Reason{neverBuilt}
}

// Spec returns the node as it was planned: with those inputs that were known.
func (s *Step) Spec() Spec { return s.spec }

// RecipeText returns the text of what decides the step's output, as far as that
// is known; see [cache.Recipe.Text].
func (s *Step) RecipeText() string {
	if s.recipe == nil {
		return ""
	}
	return s.recipe.Text()
}
