package tasks

import (
	"context"
	"errors"

	"bottlebuild/cache"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
)

// errOutside is what the outline of an image is given for one of a registry.
var errOutside = errors.New("an outline asks no registry")

// describeOutline adds to the recipe what [Worker.outlineTrees] finds. So a file that has
// changed makes the image run for certain, and is named.
func (w *Worker) describeOutline(ctx context.Context, p Image, address string, def buildkit.Definition, r *cache.Recipe) error {
	a, trees, err := w.outlineTrees(ctx, p, def)
	if err != nil || a == nil {
		return err
	}
	w.absences.set(address, missingCopies(p, a, trees))
	for name, t := range trees {
		r.AddDigest(contextComponent(name), t.Digest)
	}
	return nil
}

// outlineTrees scans what the build reads of directories by [Worker.analyzeOutline], which
// it returns too.
func (w *Worker) outlineTrees(ctx context.Context, p Image, def buildkit.Definition) (*buildkit.Analysis, map[string]*buildcontext.Tree, error) {
	a, err := w.analyzeOutline(ctx, p, def)
	if err != nil || a == nil {
		return nil, nil, err
	}
	trees, err := w.scan(ctx, p, a)
	return a, trees, err
}

// analyzeOutline returns what the build reads whatever the linked images are that are not
// there yet: their triggers can only add to it. Where that cannot be told from the
// Dockerfile alone it is nil.
func (w *Worker) analyzeOutline(ctx context.Context, p Image, def buildkit.Definition) (*buildkit.Analysis, error) {
	if p.Remote != "" || buildkit.SourcesVary(def.Dockerfile) {
		return nil, nil
	}
	recipe, err := w.analysisRecipe(def)
	if err != nil {
		return nil, err
	}
	recipe.Add("outline", "true")
	key := recipe.Key()
	a := w.recall(key) // a plan asks twice, and once more for the reasons
	if a == nil {
		a, err = buildkit.Analyze(ctx, buildkit.AnalyzeRequest{
			Definition: def, BuildPlatform: w.Platform, Store: w.Store, Outline: true,
			Resolve: func(context.Context, string, string) (string, []byte, error) { return "", nil, errOutside },
		})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, nil // it depends on more than this, or the build will say what is wrong
		}
		w.remember(key, a)
	}
	return a, nil
}
