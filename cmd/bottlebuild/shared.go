package main

import (
	"context"
	"fmt"

	"github.com/docker/go-units"
	"github.com/google/go-containerregistry/pkg/authn"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
	"bottlebuild/tasks"
	"bottlebuild/tasks/progress"
)

// share makes the session use the shared cache that the flags, the environment
// or the bottle file name, if any does. With lookOnly nothing is sent to it.
func (s *session) share(file *bottlefile.File, f *cacheFlags, lookOnly bool) error {
	conf, err := s.sharedConfig(file, f)
	if err != nil || len(conf.Remotes) == 0 {
		return err
	}
	conf.LookOnly = lookOnly
	if lookOnly && !s.store.Exists() { // a plan makes no cache
		conf.Dir = ""
	}
	return s.shareBy(conf)
}

// shareBy makes the session use a shared cache; one without registries can still
// carry entries to and from directories.
func (s *session) shareBy(conf remote.Config) (err error) {
	conf.Store, conf.Keychain, conf.Platform = s.store, authn.DefaultKeychain, s.worker.Platform
	conf.Notice = func(text string) {
		if !s.rawProgress {
			fmt.Fprintln(s.stderr, "bottlebuild:", text)
		}
	}
	conf.Sending = func(e *cache.Entry, repository string) remote.Step {
		return progress.Start(s.sink(e.Address), "store "+e.Kind+" in "+repository)
	}
	if s.shared, err = remote.New(conf); err != nil {
		return usageError("%w", err)
	}
	s.worker.Fetch = func(ctx context.Context, blobs []cache.Blob, sink progress.Sink) error {
		return s.shared.Fetch(ctx, blobs, func(name string) remote.Step { return progress.Start(sink, name) })
	}
	return nil
}

// sharing gives a runner the shared cache, if there is one.
func (s *session) sharing(r *graph.Runner) {
	if s.shared != nil {
		r.Shared, r.Shares = s.shared, tasks.Shares
	}
}

// replans is how often a plan is made again because what a shared cache promised
// could not be had, before nothing more is read from it.
const replans = 3

// denied counts the promises that a shared cache did not keep.
func (s *session) denied() int {
	if s.shared == nil {
		return 0
	}
	return s.shared.Denials()
}

// publishCached offers the shared cache the results that were here before the run.
func (s *session) publishCached(r *graph.Report) {
	for _, res := range r.Results {
		if res.Status != graph.Cached || !tasks.Shares(res.Node.Kind) {
			continue
		}
		if e, err := s.store.Get(res.Key); err == nil { // else it is not here
			s.shared.Publish(e)
		}
	}
}

// tellShared says what the shared cache did; nil if there is none.
func (s *session) tellShared(quiet bool) *remote.Stats {
	if s.shared == nil {
		return nil
	}
	stats := s.shared.Stats()
	if text := describeStats(stats); text != "" && !quiet {
		fmt.Fprintln(s.stderr, "shared cache:", text)
	}
	return &stats
}

func bytesText(n int64) string { return units.BytesSize(float64(n)) }
