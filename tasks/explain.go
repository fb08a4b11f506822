package tasks

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
)

// Explain implements [graph.Explainer]: it tells the cause of a change, and for
// a directory it names the files.
func (w *Worker) Explain(ctx context.Context, s graph.Spec) func(cache.Change) []graph.Reason {
	p, isImage := s.Params.(Image)
	trees := sync.OnceValues(func() (map[string]*buildcontext.Tree, error) { return w.trees(ctx, p, s) })
	return func(c cache.Change) []graph.Reason {
		cause := causeOf(s, c)
		if isImage && cause == CauseFile && c.Component != "dockerfile" && c.Before != "" && c.After != "" {
			// Where the files cannot be told, the digests say it too, if less clearly.
			if reasons, err := w.explainTree(p, s, c, trees); err == nil && (len(reasons) > 0 || !s.Known) {
				return reasons
			}
		}
		return []graph.Reason{graph.ChangeReason(c, cause, subjectOf(s, c))}
	}
}

// changeText says what has happened to a file.
var changeText = map[buildcontext.ChangeKind]string{
	buildcontext.Added: "added", buildcontext.Removed: "removed", buildcontext.ChangedType: "type changed",
	buildcontext.ChangedContent: "content changed", buildcontext.ChangedMode: "mode changed",
	buildcontext.ChangedTarget: "target changed", buildcontext.ChangedXattrs: "extended attributes changed",
}

// maxFiles bounds how many files are named of a directory that has changed.
const maxFiles = 1000

func (w *Worker) explainTree(p Image, s graph.Spec, c cache.Change, scan func() (map[string]*buildcontext.Tree, error)) ([]graph.Reason, error) {
	d, err := cache.ParseDigest(c.Before)
	if err != nil {
		return nil, err
	}
	before, err := w.Store.ReadBlob(d, 1<<30)
	if err != nil {
		return nil, err
	}
	trees, err := scan()
	if err != nil {
		return nil, err
	}
	var reasons []graph.Reason
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		if contextComponent(name) != c.Component {
			continue
		}
		dir, _ := p.contextDir(name)
		changes := buildcontext.DiffListings(before, trees[name].Listing())
		if !s.Known { // what triggers of linked images read is not in the outline
			changes = slices.DeleteFunc(changes, func(ch buildcontext.FileChange) bool {
				_, err := os.Lstat(filepath.Join(dir, ch.Path))
				return ch.Kind == buildcontext.Removed && err == nil
			})
		}
		for i, ch := range changes {
			if i == maxFiles {
				reasons = append(reasons, graph.Reason{Cause: CauseFile, Component: c.Component, Text: fmt.Sprintf("and %d more files", len(changes)-i)})
				break
			}
			file, what := filepath.Join(filepath.Base(dir), ch.Path), changeText[ch.Kind]
			if ch.Kind == buildcontext.Removed {
				if _, err := os.Lstat(filepath.Join(dir, ch.Path)); err == nil {
					what = "not used any more" // by another Dockerfile, or ignored
				}
			}
			reasons = append(reasons, graph.Reason{Cause: CauseFile, Component: c.Component + "/" + ch.Path, Text: fmt.Sprintf("file %s: %s", file, what)})
		}
	}
	return reasons, nil
}

// trees scans what an image's build reads of directories.
func (w *Worker) trees(ctx context.Context, p Image, s graph.Spec) (map[string]*buildcontext.Tree, error) {
	def, complete, err := w.definition(ctx, p, s.Inputs)
	if err != nil {
		return nil, err
	}
	if !complete {
		_, trees, err := w.outlineTrees(ctx, p, def)
		return trees, err
	}
	a, err := w.analyze(ctx, def)
	if err != nil {
		return nil, err
	}
	return w.scan(ctx, p, a)
}

// Listings returns the texts whose digests stand in the recipe of a node for the
// directories that it reads. With them in the store, a later change of those
// directories can be told file by file.
func (w *Worker) Listings(ctx context.Context, s graph.Spec) ([][]byte, error) {
	p, ok := s.Params.(Image)
	if !ok || p.Ref != "" {
		return nil, nil
	}
	trees, err := w.trees(ctx, p, s)
	if err != nil {
		return nil, err
	}
	var texts [][]byte
	for _, name := range slices.Sorted(maps.Keys(trees)) {
		texts = append(texts, trees[name].Listing())
	}
	return texts, nil
}
