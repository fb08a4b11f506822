package graph

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"bottlebuild/cache"
)

// differences says in what the step differs from the nearest of its earlier work,
// whose keys come newest first. Of a step whose recipe is not whole yet, what
// that lacks is passed over.
func (r *Runner) differences(ctx context.Context, s *Step, earlier []cache.Key) []Reason {
	key, reasons, err := r.nearest(ctx, s, earlier)
	switch {
	case err == nil:
		s.Compared = key
		return reasons
	case errors.Is(err, errOtherKeys):
		return []Reason{{Cause: OtherKeys, Component: "schema", Text: "built by a version with other keys"}}
	case errors.Is(err, cache.ErrDamaged):
		return []Reason{{Cause: Damaged, Component: "cache", Text: "the record of its earlier work is damaged in the cache"}}
	}
	return []Reason{{Cause: Evicted, Component: "cache", Text: "its earlier work was evicted from the cache"}}
}

// Nearest returns, of the keys, the one whose recipe is of the step's kind and
// differs least from the step's own, and in what. It is how work that was never
// done at this address is compared: with that of another, or of another project.
// ok is false if none has a recipe to compare with.
func (r *Runner) Nearest(ctx context.Context, s *Step, keys []cache.Key) (nearest cache.Key, differences []Reason, ok bool) {
	if s.recipe == nil {
		return nearest, nil, false
	}
	nearest, differences, err := r.nearest(ctx, s, keys)
	return nearest, differences, err == nil
}

var (
	errOtherKeys = errors.New("its recipe is of a version with other keys")
	errNoRecipe  = errors.New("there is no recipe of its kind")
)

// candidate is earlier work that a step may be compared with.
type candidate struct {
	key     cache.Key
	changes []cache.Change  // from its recipe to the step's
	reasons func() []Reason // of the changes; they take a look at files
}

// nearest finds the key whose recipe differs in the fewest components from the
// step's; of several such that in which the fewest reasons are seen, as files of
// a directory are; and of several such the first. The error says why the first
// key that was no candidate was none.
func (r *Runner) nearest(ctx context.Context, s *Step, keys []cache.Key) (cache.Key, []Reason, error) {
	var (
		best    *candidate
		none    error
		ties    int
		explain = r.explainer(ctx, s)
	)
	for _, k := range keys {
		if k == s.Key {
			continue
		}
		before, err := r.recipe(k)
		if err == nil && before.Kind != s.recipe.Kind {
			err = errNoRecipe
		}
		if err != nil {
			none = cmp.Or(none, err)
			continue
		}
		changes := s.changes(before)
		c := &candidate{k, changes, sync.OnceValue(func() []Reason { return explain(changes) })}
		switch {
		case best == nil || len(changes) < len(best.changes):
			best = c
		case len(changes) == len(best.changes) && ties < maxTies:
			ties++
			if len(c.reasons()) < len(best.reasons()) {
				best = c
			}
		}
		if len(best.changes) <= 1 && len(best.reasons()) <= 1 {
			break // none is nearer
		}
	}
	if best == nil {
		return cache.Key{}, nil, cmp.Or(none, errNoRecipe)
	}
	return best.key, best.reasons(), nil
}

// maxTies bounds how many candidates with as few changes are looked at closely.
const maxTies = 4

// recipe returns the recipe of a key.
func (r *Runner) recipe(k cache.Key) (*cache.Recipe, error) {
	text, err := r.Cache.Recipe(k)
	if err != nil {
		return nil, err
	}
	recipe, err := cache.ParseRecipe(text)
	if err != nil {
		return nil, errOtherKeys
	}
	return recipe, nil
}

// changes returns in what the step's recipe differs from an earlier one. What it
// lacks because its inputs are not known is no change.
func (s *Step) changes(before *cache.Recipe) []cache.Change {
	changes := cache.Diff(before, s.recipe)
	if s.spec.Known {
		return changes
	}
	return slices.DeleteFunc(changes, func(c cache.Change) bool { return c.After == "" })
}

// explainer returns what makes reasons of changes of a step.
func (r *Runner) explainer(ctx context.Context, s *Step) func([]cache.Change) []Reason {
	explain := func(cache.Change) []Reason { return nil }
	if e, ok := r.Worker.(Explainer); ok {
		explain = e.Explain(ctx, s.spec)
	}
	return func(changes []cache.Change) []Reason {
		var reasons []Reason
		for _, c := range changes {
			if more := explain(c); len(more) > 0 {
				reasons = append(reasons, more...)
			} else {
				reasons = append(reasons, ChangeReason(c, Changed, ""))
			}
		}
		return reasons
	}
}

// compare says in what the step's recipe differs from an earlier one.
func (r *Runner) compare(ctx context.Context, s *Step, before *cache.Recipe) []Reason {
	return r.explainer(ctx, s)(s.changes(before))
}
