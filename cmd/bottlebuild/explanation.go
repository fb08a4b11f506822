package main

import (
	"context"
	"errors"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/graph/history"
)

// explanation gathers what is known of nodes.
type explanation struct {
	*session
	runner *graph.Runner
	steps  map[*graph.Node]*graph.Step
	seen   map[*graph.Node]bool
}

func (w *explanation) explain(ctx context.Context, s *graph.Step) (whyJSON, error) {
	j := whyJSON{stepJSON: describeStep(s), Pos: s.Node.Pos, Depends: []dependency{}, Recipe: []component{}}
	for _, d := range s.Node.Deps {
		j.Depends = append(j.Depends, dependency{d.Address, w.steps[d].Decision})
	}
	if text := s.RecipeText(); text != "" {
		r, err := cache.ParseRecipe(text)
		if err != nil {
			return j, err
		}
		for _, c := range r.Components {
			if c.Type == cache.TypeHidden {
				c.Value = cache.Concealed
			}
			j.Recipe = append(j.Recipe, component{c.Name, c.Value})
		}
	}
	if s.Decision == graph.Maybe || s.Decision == graph.Run {
		w.roots(s, &j, map[*graph.Node]bool{s.Node: true})
	}
	key, err := s.Key, error(nil)
	if s.Decision != graph.Hit || s.SameAs != nil {
		key, err = w.store.Latest(w.runner.Scope, s.Node.Address)
	}
	if err == nil {
		j.Built, err = w.built(key)
	}
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		return j, err
	}
	if !s.Compared.IsZero() && s.Compared != key {
		if j.Compared, err = w.built(s.Compared); err != nil && !errors.Is(err, cache.ErrMiss) {
			return j, err
		}
	}
	if j.Built == nil && s.Decision != graph.Hit {
		return j, w.nearest(ctx, s, &j)
	}
	return j, nil
}

// roots finds the nodes that will run for a reason of their own, because of
// which a step waits.
func (w *explanation) roots(s *graph.Step, j *whyJSON, seen map[*graph.Node]bool) {
	for _, d := range s.Node.Deps {
		step := w.steps[d]
		if seen[d] || step.Decision == graph.Hit {
			continue
		}
		seen[d] = true
		if own := ownReasons(step.Reasons); len(own) > 0 {
			j.Roots = append(j.Roots, rootJSON{d.Address, own})
		}
		w.roots(step, j, seen)
	}
}

func ownReasons(reasons []graph.Reason) (own []graph.Reason) {
	for _, r := range reasons {
		if r.Cause != graph.Dependency {
			own = append(own, r)
		}
	}
	return own
}

// built returns how the result of a key came to be.
func (w *explanation) built(k cache.Key) (*builtJSON, error) {
	e, err := w.store.Get(k)
	if err != nil {
		return nil, err
	}
	b := &builtJSON{Key: k, Created: e.Created, Seconds: e.Seconds, Bytes: e.Bytes, Address: e.Address}
	if !e.Output.Digest.IsZero() {
		b.Digest = &e.Output.Digest
	}
	return b, w.history().Runs("", func(r *history.Run) bool {
		for _, n := range r.Nodes {
			if n.Status == graph.Ran && n.Key != nil && *n.Key == k {
				b.Run = r.ID
			}
		}
		return b.Run == ""
	})
}

// maxCompared bounds with how many earlier results a new node is compared.
const maxCompared = 200

// nearest compares a node that was never built with the work of other addresses
// that the history knows of.
func (w *explanation) nearest(ctx context.Context, s *graph.Step, j *whyJSON) error {
	var keys []cache.Key
	known := map[cache.Key]bool{}
	err := w.history().Runs("", func(r *history.Run) bool {
		for _, n := range r.Nodes {
			if n.Kind == s.Node.Kind && n.Key != nil && !known[*n.Key] && len(keys) < maxCompared {
				known[*n.Key] = true
				keys = append(keys, *n.Key)
			}
		}
		return len(keys) < maxCompared
	})
	if err != nil {
		return err
	}
	k, reasons, ok := w.runner.Nearest(ctx, s, keys)
	if !ok {
		return nil
	}
	b, err := w.built(k)
	if errors.Is(err, cache.ErrMiss) {
		return nil
	}
	if err != nil {
		return err
	}
	j.Nearest = &nearestJSON{*b, reasons}
	return nil
}
