package graph

import (
	"context"
	"errors"
	"runtime"

	"bottlebuild/cache"
)

// Shared is a cache that other machines fill too. What it is asked may take as
// long as a network does.
type Shared interface {
	// Find returns the entry of a key. Its blobs need not be on this machine:
	// the worker fetches those that it needs. The error wraps [cache.ErrMiss] if
	// there is none, and also [cache.ErrUncertain] if that could not be told.
	Find(context.Context, cache.Key) (*cache.Entry, error)
	// Marked reports whether work whose recipe, less what depends on inputs, has
	// that key is known to have been done anywhere.
	Marked(ctx context.Context, partial cache.Key) bool
	// Latest returns the text of the recipe that the node at an address had when
	// it was last done anywhere, as far as is known.
	Latest(address string) (recipe string, ok bool)
	// Publish offers an entry that is in this machine's cache. It returns at once.
	Publish(*cache.Entry)
}

// shares reports whether entries of a kind are elsewhere too.
func (r *Runner) shares(kind string) bool { return r.Shared != nil && r.Shares(kind) }

// find returns the entry of k, from this machine or from elsewhere, or why there
// is none.
func (r *Runner) find(ctx context.Context, kind string, k cache.Key) (entry *cache.Entry, miss, err error) {
	entry, miss, err = r.get(k)
	if entry != nil || err != nil || !r.shares(kind) {
		return entry, miss, err
	}
	entry, elsewhere := r.Shared.Find(ctx, k)
	switch {
	case elsewhere == nil:
		return entry, nil, nil
	case errors.Is(elsewhere, cache.ErrUncertain):
		return nil, elsewhere, nil
	case errors.Is(elsewhere, cache.ErrMiss):
		return nil, miss, nil
	}
	return nil, nil, elsewhere
}

// marked reports whether such work is known to have been done, here or elsewhere.
func (r *Runner) marked(ctx context.Context, kind string, partial cache.Key) bool {
	return r.Cache.Marked(partial) || r.shares(kind) && r.Shared.Marked(ctx, partial)
}

// publish offers an entry to others.
func (r *Runner) publish(e *cache.Entry) {
	if r.shares(e.Kind) {
		r.Shared.Publish(e)
	}
}

// here is find for this machine only.
func (r *Runner) here(_ context.Context, _ string, k cache.Key) (entry *cache.Entry, miss, err error) {
	return r.get(k)
}

// planners is how many goroutines make a plan: more where they wait for the
// network than where they only keep the processors busy.
func (r *Runner) planners() int {
	if r.Shared != nil {
		return 256
	}
	return 2 * runtime.GOMAXPROCS(0)
}

// uncertain makes a step that would run one that may: nobody could tell
// whether its output is somewhere.
func (s *Step) uncertain(miss error) {
	if s.Decision == Run && errors.Is(miss, cache.ErrUncertain) {
		s.Decision, s.Compared = Maybe, cache.Key{}
		s.Reasons = []Reason{uncertainReason(miss)}
	}
}

func uncertainReason(miss error) Reason {
	return Reason{Cause: Unknown, Component: "shared-cache", Text: "unknown: a shared cache could not be asked: " + cache.Uncertainty(miss)}
}
