package tasks

import (
	"context"
	"fmt"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/progress"
)

func (w *Worker) describePack(ctx context.Context, p Pack, s graph.Spec, r *cache.Recipe) error {
	be, info, err := w.Backends.Ready(ctx, p.Backend, p.Runtime)
	if err != nil {
		return err
	}
	r.Add("backend", be.Name())
	r.Add("tool."+info.Name, info.Version)
	r.Add("platform", w.platform(p.Platform))
	if image, ok := s.Inputs[p.Image]; ok {
		r.AddDigest("image", image.Digest)
	}
	return nil
}

// checkPack makes sure that the backend still has what it made of the pack.
func (w *Worker) checkPack(ctx context.Context, p Pack, s graph.Spec, entry *cache.Entry) (graph.Verdict, error) {
	if entry == nil || !w.isHere(entry.Output) {
		return graph.Default(s, entry), nil // there, or somewhere else
	}
	be, err := w.Backends.Named(ctx, p.Backend, p.Runtime)
	if err != nil {
		return graph.Verdict{}, err
	}
	if err := be.CheckPack(ctx, entry.Output); err != nil {
		return graph.Verdict{Decision: graph.Run, Reasons: []graph.Reason{{Cause: CausePackLost, Component: "pack", Text: err.Error()}}, OfKey: true}, nil
	}
	v := graph.Default(s, entry)
	v.OfKey = true
	return v, nil
}

func (w *Worker) runPack(ctx context.Context, p Pack, work graph.Work) (out cache.Output, err error) {
	be, _, err := w.Backends.Ready(ctx, p.Backend, p.Runtime)
	if err != nil {
		return out, err
	}
	step := progress.Start(w.sink(work), "pack with "+be.Name())
	defer func() { step.Done(err) }()
	image, err := w.platformImage(ctx, work.Inputs[p.Image], w.platform(p.Platform), w.sink(work))
	if err != nil {
		return out, fmt.Errorf("pack: %w", err)
	}
	out, err = be.Pack(ctx, backend.PackRequest{Image: image, Platform: w.platform(p.Platform), Log: step.Writer()})
	if err != nil {
		return out, err
	}
	return w.withSamples(ctx, out, image)
}
