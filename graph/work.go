package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bottlebuild/cache"
)

// work does a step's work, unless its key turns out to have an entry, and fills
// in the result.
func (x *run) work(ctx context.Context, s *Step, inputs Inputs, res *Result) {
	start := time.Now()
	res.Started, res.Reasons = start, s.Reasons
	// What the plan could not tell yet, its reasons do not either.
	told := s.spec.Known && s.Decision == Run
	fail := func(err error) {
		res.Status, res.Err, res.Elapsed = Failed, err, time.Since(start)
		if ctx.Err() != nil { // it was called off
			res.Status, res.Err = Skipped, context.Cause(ctx)
		}
	}
	if !s.spec.Known {
		if err := x.bind(ctx, s, inputs); err != nil {
			fail(err)
			return
		}
		res.Key = s.Key
	}
	unlock, err := x.Cache.Lock(ctx, s.Key)
	if err != nil {
		fail(err)
		return
	}
	defer unlock()
	// Another process may have done the work since the plan was made. If it was
	// another node of this run, by different inputs that came out the same, a
	// step that was planned to run does run: a plan is kept to the letter.
	miss := cache.ErrMiss
	if (x.forced(s) && s.SameAs == nil) || (s.Decision == Run && x.wasMade(s.Key)) {
		s.Reasons = nil
	} else {
		find := x.find
		if s.Decision == Run { // it was looked for elsewhere when the plan was made
			find = x.here
		}
		var entry *cache.Entry
		entry, miss, err = find(ctx, s.Node.Kind, s.Key)
		if err == nil {
			_, err = x.judge(ctx, s, entry)
		}
		if err != nil {
			fail(err)
			return
		}
		told = told && res.Action == s.Action
		res.Action = s.Action
		if s.Decision == Hit {
			res.Status, res.Output, res.Reasons = Cached, s.output, nil
			if entry != nil {
				res.Bytes, res.Saved = entry.Bytes, time.Duration(entry.Seconds*float64(time.Second))
			}
			return
		}
	}
	if !told {
		res.Reasons = x.grounds(ctx, s, miss)
	}
	out, err := x.try(ctx, s.spec)
	if err == nil {
		err = x.store(ctx, s, out, time.Since(start), res)
	}
	if err != nil {
		fail(err)
		return
	}
	res.Status, res.Output, res.Elapsed = Ran, out, time.Since(start)
}

func (x *run) wasMade(k cache.Key) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.made[k]
}

// maxRetryPause bounds what the pause between tries grows to.
const maxRetryPause = 30 * time.Second

// try hands the work to the executor, as a value, as often as allowed.
func (x *run) try(ctx context.Context, spec Spec) (out cache.Output, err error) {
	params, err := json.Marshal(spec.Params)
	if err != nil {
		return out, fmt.Errorf("encode parameters: %w", err)
	}
	w := Work{Address: spec.Address, Kind: spec.Kind, Key: spec.Key, Params: params, Inputs: spec.Inputs}
	pause := x.RetryPause
	for tries := 0; ; tries++ {
		out, err = x.once(ctx, w)
		if err == nil || tries >= x.Retries || ctx.Err() != nil {
			return out, err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxRetryPause)
		case <-ctx.Done():
			return out, err
		}
	}
}

func (x *run) once(ctx context.Context, w Work) (cache.Output, error) {
	if x.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, x.Timeout, fmt.Errorf("it took longer than %s", x.Timeout))
		defer cancel()
	}
	out, err := x.Executor.Execute(ctx, w)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return out, err
}

// store puts the output into the cache, unless the inputs have changed since
// the key was made.
func (x *run) store(ctx context.Context, s *Step, out cache.Output, took time.Duration, res *Result) error {
	again, err := x.describe(ctx, s.spec)
	if err != nil {
		return err
	}
	if again.Key() != s.Key {
		return changedError(s.recipe, again)
	}
	e := &cache.Entry{
		Key: s.Key, Kind: s.Node.Kind, Action: s.Action, Address: s.Node.Address, Output: out,
		Created: time.Now().UTC(), Seconds: took.Seconds(), Recipe: s.recipe.Text(),
	}
	// The mark comes first: an entry without one would be a hit that no plan
	// had seen as possible.
	if len(s.Node.Deps) > 0 {
		partial, err := x.partial(ctx, s.spec)
		if err != nil {
			return err
		}
		if err := x.Cache.Mark(partial); err != nil {
			return err
		}
		e.Partial = partial
	}
	if err := x.Cache.Put(e); err != nil {
		return err
	}
	x.publish(e)
	res.Bytes = e.Bytes
	x.mu.Lock()
	x.made[s.Key] = true
	x.mu.Unlock()
	return x.Cache.SetLatest(x.Scope, s.Node.Address, s.Key)
}

func changedError(before, after *cache.Recipe) error {
	for _, c := range cache.Diff(before, after) {
		return fmt.Errorf("%s: %w", c.Component, ErrInputsChanged)
	}
	return ErrInputsChanged
}
