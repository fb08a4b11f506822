package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/buildkit"
)

// kindAnalysis is the kind of entries that hold what a Dockerfile reads, so
// that a cached run need not translate it again.
const kindAnalysis = "analysis"

// analyze returns what a Dockerfile reads. An analysis that was saved holds for
// as long as each of its base images is still what its reference stands for.
func (w *Worker) analyze(ctx context.Context, def buildkit.Definition) (*buildkit.Analysis, error) {
	recipe, err := w.analysisRecipe(def)
	if err != nil {
		return nil, err
	}
	key := recipe.Key()
	if known := w.recall(key); known != nil {
		return known, nil
	}
	a, err := w.savedAnalysis(ctx, key)
	if err != nil {
		return nil, err
	}
	if a == nil {
		a, err = buildkit.Analyze(ctx, buildkit.AnalyzeRequest{
			Definition: def, BuildPlatform: w.Platform, Store: w.Store, Resolve: w.resolveBase,
		})
		if err != nil {
			return nil, err
		}
		if err := w.resolveRemotes(ctx, a); err != nil {
			return nil, err
		}
	}
	w.remember(key, a)
	return a, nil
}

// recall returns the analysis that this process has made under a key, nil if none.
func (w *Worker) recall(key cache.Key) *buildkit.Analysis {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.analyses[key]
}

func (w *Worker) remember(key cache.Key, a *buildkit.Analysis) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.analyses == nil {
		w.analyses = map[cache.Key]*buildkit.Analysis{}
	}
	w.analyses[key] = a
}

func (w *Worker) analysisRecipe(def buildkit.Definition) (*cache.Recipe, error) {
	b, err := json.Marshal(def)
	if err != nil {
		return nil, fmt.Errorf("encode definition: %w", err)
	}
	r := cache.NewRecipe(kindAnalysis)
	r.Add("form", "3") // of [buildkit.Analysis]
	r.Add("tool.buildkit", buildkit.Version())
	r.Add("platform", w.Platform)
	r.AddDigest("definition", cache.DigestOf(b))
	return r, nil
}

// savedAnalysis returns nil if there is none that still holds.
func (w *Worker) savedAnalysis(ctx context.Context, key cache.Key) (*buildkit.Analysis, error) {
	entry, err := w.Store.Get(key)
	if errors.Is(err, cache.ErrMiss) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	a := &buildkit.Analysis{}
	if err := json.Unmarshal([]byte(entry.Output.Attrs[kindAnalysis]), a); err != nil {
		return nil, nil
	}
	for _, b := range a.Images {
		d, err := w.resolveImage(ctx, b.Ref)
		if err != nil {
			return nil, err
		}
		if d.String() != b.Digest {
			return nil, nil
		}
	}
	// What remote sources stand for is no part of what a Dockerfile means.
	return a, w.resolveRemotes(ctx, a)
}

func (w *Worker) saveAnalysis(def buildkit.Definition, a *buildkit.Analysis) error {
	recipe, err := w.analysisRecipe(def)
	if err != nil {
		return err
	}
	b, err := json.Marshal(a.Unresolved())
	if err != nil {
		return fmt.Errorf("encode analysis: %w", err)
	}
	if e, err := w.Store.Get(recipe.Key()); err == nil && e.Output.Attrs[kindAnalysis] == string(b) {
		return nil
	}
	return w.Store.Put(&cache.Entry{
		Key: recipe.Key(), Kind: kindAnalysis, Created: time.Now().UTC(), Recipe: recipe.Text(),
		Output: cache.Output{Digest: a.Digest, Attrs: map[string]string{kindAnalysis: string(b)}},
	})
}
