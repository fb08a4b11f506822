package graph

import (
	"context"
	"errors"
	"fmt"

	"bottlebuild/cache"
)

// Explainer is a [Worker] that can say more of a changed component than that it
// is another, such as which files of a directory have changed.
type Explainer interface {
	Explain(ctx context.Context, s Spec, c cache.Change) []Reason
}

// explain adds to a step that will run why it will: what the world has lost, as
// the worker said; else what differs from the recipe the node had last.
func (r *Runner) explain(ctx context.Context, s *Step, forced bool, miss error) {
	latest, err := r.Cache.Latest(r.Scope, s.Node.Address)
	r.estimate(s, latest, err)
	switch said := len(s.Reasons) > 0; { // by the worker
	case forced:
		s.Reasons = []Reason{forcedReason}
	case !said && errors.Is(miss, cache.ErrDamaged): // and evicted, if it is of a blob
		s.Reasons = []Reason{{Cause: Damaged, Component: "cache", Text: "damaged in the cache"}}
	case !said && errors.Is(miss, cache.ErrEvicted):
		s.Reasons = []Reason{evictedReason}
	case err != nil && miss != nil: // what the worker misses was never there
		s.Reasons = append(r.elsewhere(ctx, s), s.Reasons...)
	case said:
	case err == nil && latest == s.Key:
		s.Reasons = []Reason{evictedReason}
	default:
		s.Reasons = r.differences(ctx, s, latest)
	}
	s.Reasons = append(s.Reasons, s.notes...)
}

var (
	neverBuilt    = Reason{Cause: NeverBuilt, Component: "history", Text: "never built here"}
	forcedReason  = Reason{Cause: Forced, Component: "force", Text: "forced"}
	evictedReason = Reason{Cause: Evicted, Component: "cache", Text: "evicted from the cache"}
)

// explainUnknown adds to a step whose inputs are not all known which dependencies
// keep them so, and what else differs from the recipe the node had last.
func (r *Runner) explainUnknown(ctx context.Context, s *Step, waits []*Step) {
	latest, err := r.Cache.Latest(r.Scope, s.Node.Address)
	r.estimate(s, latest, err)
	switch {
	case r.forced(s):
		s.Reasons = []Reason{forcedReason}
	case err != nil && s.Decision == Run:
		s.Reasons = []Reason{neverBuilt}
	case len(s.Reasons) > 0: // the worker has said why
	case err == nil && s.recipe != nil:
		s.Reasons = r.differences(ctx, s, latest)
	}
	for _, d := range waits {
		verb := "will"
		if d.Decision == Maybe {
			verb = "may"
		}
		s.Reasons = append(s.Reasons, Reason{Cause: Dependency, Component: d.Node.Address, Text: fmt.Sprintf("%s %s run", d.Node.Address, verb)})
	}
	s.Reasons = append(s.Reasons, s.notes...)
}

// differences compares the step's recipe with that of an earlier key. Of a step
// whose recipe is not whole yet, what that lacks is passed over.
func (r *Runner) differences(ctx context.Context, s *Step, earlier cache.Key) []Reason {
	text, err := r.Cache.Recipe(earlier)
	switch {
	case errors.Is(err, cache.ErrDamaged):
		return []Reason{{Cause: Damaged, Component: "cache", Text: "the record of its earlier work is damaged in the cache"}}
	case err != nil:
		return []Reason{{Cause: Evicted, Component: "cache", Text: "its earlier work was evicted from the cache"}}
	}
	before, err := cache.ParseRecipe(text)
	if err != nil {
		return []Reason{{Cause: OtherKeys, Component: "schema", Text: "built by a version with other keys"}}
	}
	return r.compare(ctx, s, before)
}

// compare says in what the step's recipe differs from an earlier one.
func (r *Runner) compare(ctx context.Context, s *Step, before *cache.Recipe) []Reason {
	var reasons []Reason
	for _, c := range cache.Diff(before, s.recipe) {
		if c.After == "" && !s.spec.Known {
			continue
		}
		if e, ok := r.Worker.(Explainer); ok {
			if more := e.Explain(ctx, s.spec, c); len(more) > 0 {
				reasons = append(reasons, more...)
				continue
			}
		}
		reasons = append(reasons, ChangeReason(c, Changed, ""))
	}
	return reasons
}

// estimate takes over what the work of the node's latest key took; err is of
// looking for that. Work that was never done takes what is typical for its kind.
func (r *Runner) estimate(s *Step, latest cache.Key, err error) {
	if err == nil {
		if e, err := r.Cache.Get(latest); err == nil {
			s.Estimate = Estimate{Seconds: e.Seconds, Bytes: e.Bytes}
			return
		}
	}
	if r.Typical != nil {
		if t := r.Typical(s.Node.Kind); t.Seconds > 0 {
			s.Estimate = Estimate{Seconds: t.Seconds, Bytes: t.Bytes, Typical: true}
		}
	}
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

// Nearest returns, of the keys, the one whose recipe is of the step's kind and
// differs least from the step's own, and in what. It is how work that was never
// done at this address is compared: with that of another, or of another project.
// ok is false if none has a recipe to compare with.
func (r *Runner) Nearest(ctx context.Context, s *Step, keys []cache.Key) (nearest cache.Key, differences []Reason, ok bool) {
	if s.recipe == nil {
		return nearest, nil, false
	}
	var best *cache.Recipe
	least := 0
	for _, k := range keys {
		text, err := r.Cache.Recipe(k)
		if err != nil || k == s.Key {
			continue
		}
		before, err := cache.ParseRecipe(text)
		if err != nil || before.Kind != s.recipe.Kind {
			continue
		}
		if n := len(cache.Diff(before, s.recipe)); best == nil || n < least {
			nearest, best, least = k, before, n
		}
	}
	if best == nil {
		return nearest, nil, false
	}
	return nearest, r.compare(ctx, s, best), true
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
