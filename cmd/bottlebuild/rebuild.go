package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// rebuiltJSON is an image that cache verify --rebuild has built again.
type rebuiltJSON struct {
	Address string       `json:"address"`
	Before  cache.Digest `json:"before"`
	After   cache.Digest `json:"after"`
	Equal   bool         `json:"equal"`
}

// rebuild builds up to n images of the bottle file again that are in the cache,
// and keeps nothing but the comparison.
func (s *session) rebuild(ctx context.Context, f *selection, args []string, n int) ([]rebuiltJSON, error) {
	c, err := s.app.choose(ctx, f, args)
	if err != nil {
		return nil, err
	}
	release, err := s.store.Hold()
	if err != nil {
		return nil, err
	}
	defer release()
	runner := s.runner(c)
	images, err := imagesOf(c.nodes)
	if err != nil {
		return nil, err
	}
	plan, err := runner.Plan(ctx, images)
	if err != nil {
		return nil, planError(err)
	}
	x := &rebuilder{worker: s.worker, before: map[string]cache.Digest{}}
	chosen := map[*graph.Node]bool{}
	var again []*graph.Node
	for _, i := range rand.Perm(len(plan.Steps)) {
		step := plan.Steps[i]
		if len(again) == n {
			break
		}
		if step.Decision != graph.Hit || step.SameAs != nil || step.Node.Kind != tasks.KindImage {
			continue
		}
		if e, err := s.store.Get(step.Key); err == nil {
			chosen[step.Node] = true
			again = append(again, step.Node)
			x.before[step.Node.Address] = e.Output.Digest
		}
	}
	if len(again) == 0 {
		return []rebuiltJSON{}, nil
	}
	runner.Cache, runner.Executor = lookOnly{s.store}, x
	runner.Force = func(node *graph.Node) bool { return chosen[node] }
	if plan, err = runner.Plan(ctx, again); err != nil {
		return nil, planError(err)
	}
	run := &execution{session: s, chosen: c, runner: runner, mode: "auto"}
	var report *graph.Report
	err = run.show(func(d *display) { report = run.runUnder(ctx, d, plan) })
	if err == nil {
		err = report.Err()
	}
	return x.found, err
}

func imagesOf(nodes []*graph.Node) ([]*graph.Node, error) {
	all, err := graph.Sort(nodes)
	var images []*graph.Node
	for _, node := range all {
		if node.Kind == tasks.KindImage {
			images = append(images, node)
		}
	}
	return images, err
}

// lookOnly is a cache in which nothing changes.
type lookOnly struct{ *cache.Store }

func (lookOnly) Put(*cache.Entry) error                    { return nil }
func (lookOnly) Mark(cache.Key) error                      { return nil }
func (lookOnly) SetLatest(string, string, cache.Key) error { return nil }

// rebuilder builds images without any build cache and compares digests.
type rebuilder struct {
	worker *tasks.Worker
	before map[string]cache.Digest // by address

	mu    sync.Mutex
	found []rebuiltJSON
}

func (x *rebuilder) Execute(ctx context.Context, work graph.Work) (cache.Output, error) {
	before, ok := x.before[work.Address]
	if !ok {
		return cache.Output{}, fmt.Errorf("%s is not in the cache any more; run first", work.Address)
	}
	var p tasks.Image
	if err := json.Unmarshal(work.Params, &p); err != nil {
		return cache.Output{}, fmt.Errorf("read parameters: %w", err)
	}
	p.NoCache = true
	params, err := json.Marshal(p)
	if err != nil {
		return cache.Output{}, fmt.Errorf("encode parameters: %w", err)
	}
	work.Params = params
	out, err := x.worker.Execute(ctx, work)
	if err != nil {
		return out, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.found = append(x.found, rebuiltJSON{work.Address, before, out.Digest, out.Digest == before})
	return out, nil
}
