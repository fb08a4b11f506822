package graph

import (
	"context"
	"errors"

	"bottlebuild/cache"
)

// Explainer is a [Worker] that can say more of a changed component than its two
// values, such as which files of a directory have changed.
type Explainer interface {
	Explain(ctx context.Context, s Spec, c cache.Change) []Reason
}

var neverBuilt = Reason{Component: "history", Text: "never built here"}

// explain adds to a step that will run why it will: what the world has lost, as
// the worker said; else what differs from the recipe the node had last.
func (r *Runner) explain(ctx context.Context, s *Step, forced bool, miss error) {
	latest, err := r.Cache.Latest(r.Scope, s.Node.Address)
	if err == nil {
		s.estimate(r, latest)
	}
	switch {
	case forced:
		s.Reasons = append(s.Reasons, Reason{Component: "force", Text: "forced"})
	case len(s.Reasons) > 0: // the worker has said why
	case errors.Is(miss, cache.ErrEvicted):
		s.Reasons = []Reason{{Component: "cache", Text: "evicted from the cache"}}
	case errors.Is(miss, cache.ErrDamaged):
		s.Reasons = []Reason{{Component: "cache", Text: "damaged in the cache"}}
	case err != nil:
		s.Reasons = []Reason{neverBuilt}
	case latest == s.Key:
		s.Reasons = []Reason{{Component: "cache", Text: "evicted from the cache"}}
	default:
		s.Reasons = r.differences(ctx, s, latest)
	}
	s.Reasons = append(s.Reasons, s.notes...)
}

// differences compares the step's recipe with that of an earlier key.
func (r *Runner) differences(ctx context.Context, s *Step, earlier cache.Key) []Reason {
	text, err := r.Cache.Recipe(earlier)
	if err != nil {
		return []Reason{neverBuilt}
	}
	before, err := cache.ParseRecipe(text)
	if err != nil {
		return []Reason{{Component: "schema", Text: "built by a version with other keys"}}
	}
	var reasons []Reason
	for _, c := range cache.Diff(before, s.recipe) {
		if e, ok := r.Worker.(Explainer); ok {
			if more := e.Explain(ctx, s.spec, c); len(more) > 0 {
				reasons = append(reasons, more...)
				continue
			}
		}
		reasons = append(reasons, Reason{c.Component, c.Before, c.After, changeText(c)})
	}
	return reasons
}

func changeText(c cache.Change) string {
	switch {
	case c.Before == "":
		return c.Component + " is new"
	case c.After == "":
		return c.Component + " is gone"
	}
	return c.Component + " changed"
}

// estimate takes over what the work of an earlier key took.
func (s *Step) estimate(r *Runner, k cache.Key) {
	if e, err := r.Cache.Get(k); err == nil {
		s.Estimate = Estimate{e.Seconds, e.Bytes}
	}
}
