package tasks

import (
	"context"
	"path/filepath"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/archive"
	"bottlebuild/tasks/progress"
)

func (w *Worker) describeExport(p Export, s graph.Spec, r *cache.Recipe) {
	r.Add("path", p.Path)
	r.Add("format", p.Format)
	r.Add("name", p.Name)
	if image, ok := s.Inputs[p.Image]; ok {
		r.AddDigest("image", image.Digest)
	}
}

// checkExport looks whether the file is still what was written.
func (w *Worker) checkExport(ctx context.Context, p Export, s graph.Spec, entry *cache.Entry) (graph.Verdict, error) {
	if entry == nil {
		return graph.Default(s, nil), nil
	}
	why, err := archive.Check(ctx, w.Store, entry.Output, p.options())
	if err != nil {
		return graph.Verdict{}, err
	}
	if why != "" {
		return graph.Verdict{Decision: graph.Run, Reasons: []graph.Reason{{Cause: CauseFileLost, Component: "file", Text: filepath.Base(p.Path) + ": " + why}}}, nil
	}
	return graph.Default(s, entry), nil
}

func (w *Worker) runExport(ctx context.Context, p Export, work graph.Work) (out cache.Output, err error) {
	step := progress.Start(w.sink(work), "export "+p.Format+" to "+p.Path)
	defer func() { step.Done(err) }()
	image, err := w.needInput(ctx, work, p.Image)
	if err != nil {
		return out, err
	}
	return archive.Write(ctx, w.Store, image, p.options())
}

func (p Export) options() archive.Options {
	return archive.Options{Format: p.Format, Path: p.Path, Name: p.Name}
}
