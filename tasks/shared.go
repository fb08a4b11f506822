package tasks

import (
	"context"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/progress"
)

// Shares tells of which kinds of nodes entries are of use on other machines: an
// export is a file of this one, and a machine runs here.
func Shares(kind string) bool {
	return kind == KindImage || kind == KindPack || kind == KindPush
}

// FetchFunc brings blobs that are in a shared cache into the store. Its error
// wraps [cache.ErrMiss] where one cannot be had: what made it must run again.
type FetchFunc func(ctx context.Context, blobs []cache.Blob, sink progress.Sink) error

// need makes sure that blobs are in the store, before something reads them: an
// input may be the output of work that was done on another machine.
func (w *Worker) need(ctx context.Context, blobs []cache.Blob, sink progress.Sink) error {
	if w.Fetch == nil {
		return nil
	}
	var missing []cache.Blob
	for _, b := range blobs {
		if w.Store.HasBlob(b.Digest, b.Size) != nil {
			missing = append(missing, b)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return w.Fetch(ctx, missing, sink)
}

// needInput is need for all of the output of an input.
func (w *Worker) needInput(ctx context.Context, work graph.Work, address string) (cache.Output, error) {
	in := work.Inputs[address]
	return in, w.need(ctx, in.Blobs, w.sink(work))
}

// needConfigs is need for what describes an image, less its layers.
func (w *Worker) needConfigs(ctx context.Context, image cache.Output) error {
	var blobs []cache.Blob
	for _, b := range image.Blobs {
		if b.Name == "index" || b.Name == "manifest" || strings.HasPrefix(b.Name, "config") {
			blobs = append(blobs, b)
		}
	}
	return w.need(ctx, blobs, progress.Discard{})
}

// isHere reports whether all of an output is in the store.
func (w *Worker) isHere(out cache.Output) bool {
	for _, b := range out.Blobs {
		if w.Store.HasBlob(b.Digest, b.Size) != nil {
			return false
		}
	}
	return true
}
