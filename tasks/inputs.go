package tasks

import (
	"context"
	"path/filepath"

	"bottlebuild/graph"
)

// InputDirs returns the directories of this host in which a change may change
// the work of a node: of an image those that its Dockerfile reaches, as far as
// that is known before its dependencies have run. There are none below them that
// count.
func (w *Worker) InputDirs(ctx context.Context, s graph.Spec) ([]string, error) {
	p, ok := s.Params.(Image)
	if !ok || p.Ref != "" {
		return nil, nil
	}
	var dirs []string
	for _, dir := range []string{p.Context, filepath.Dir(p.Dockerfile)} {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, c := range p.Contexts {
		if c.Layout != nil {
			dirs = append(dirs, c.Layout.Dir)
		}
	}
	def, complete, err := w.definition(ctx, p, s.Inputs)
	if err != nil || !complete {
		return dirs, err
	}
	a, err := w.analyze(ctx, def)
	if err != nil {
		return dirs, err
	}
	trees, err := w.scan(ctx, p, a)
	for _, t := range trees {
		dirs = append(dirs, t.Dirs()...)
	}
	return dirs, err
}
