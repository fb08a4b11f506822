package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bottlebuild/cache"
)

// The snapshot index is one blob with the records of a project's last runs, so
// that a plan need not ask for each. It is a hint: each record in it is checked
// like any other, and one that is missing is asked for. So it needs no signature
// of its own, and of two that write it at once the last may win.

// fetchIndex takes in the snapshot index unless that has been done with this
// one before. Failures cost lookups.
func (r *repository) fetchIndex(ctx context.Context) {
	done, err := r.client.health.lookup()
	if err != nil {
		return
	}
	index, err := r.indexBlob(ctx, transport.PullScope)
	if status(err) == http.StatusNotFound {
		err = nil
	}
	done(err)
	if err != nil {
		if refuses(err) {
			r.client.health.giveUp(err)
		}
		return
	}
	r.mu.Lock()
	r.load()
	same := index.Digest == r.known.index
	r.mu.Unlock()
	if index.Digest.IsZero() || same {
		return
	}
	k, err := r.getIndex(ctx, index)
	if err != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.takeIndex(k)
	r.known.index = index.Digest
	r.change()
}

// indexBlob returns where the snapshot index is; the zero blob if there is none.
func (r *repository) indexBlob(ctx context.Context, scope string) (cache.Blob, error) {
	raw, err := r.client.getManifest(ctx, scope, indexTag(r.project))
	if err != nil {
		return cache.Blob{}, err
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return cache.Blob{}, fmt.Errorf("snapshot index: %w", err)
	}
	if d.ArtifactType != IndexType || len(d.Layers) != 1 || d.Layers[0].MediaType != IndexBlobType {
		return cache.Blob{}, errors.New("snapshot index: its manifest is another artifact's")
	}
	digest, err := cache.ParseDigest(d.Layers[0].Digest.String())
	if err != nil {
		return cache.Blob{}, fmt.Errorf("snapshot index: %w", err)
	}
	return cache.Blob{Digest: digest, Size: d.Layers[0].Size}, nil
}

func (r *repository) getIndex(ctx context.Context, b cache.Blob) (*known, error) {
	if b.Size < 0 || b.Size > maxKnownFile {
		return nil, fmt.Errorf("snapshot index: it has %d bytes", b.Size)
	}
	ctx, alive, done := r.client.health.watch(ctx)
	defer done()
	resp, err := r.client.request(ctx, transport.PullScope, "blobs", b.Digest.String(), nil)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	alive()
	if resp.StatusCode != http.StatusOK {
		return nil, answered(resp)
	}
	content, err := io.ReadAll(io.LimitReader(&living{ReadCloser: resp.Body, alive: func(int64) { alive() }}, b.Size+1))
	if err != nil {
		return nil, cause(ctx, err)
	}
	if cache.DigestOf(content) != b.Digest {
		return nil, errWrongContent
	}
	return decodeKnown(content)
}

// putIndex writes the snapshot index anew, if there are records of this run that
// it lacks: those, and what it had before for as long as there is room.
func (r *repository) putIndex(ctx context.Context, to transfer) error {
	r.indexOnce.Do(func() { r.fetchIndex(ctx) })
	if !r.indexLacks() {
		return nil
	}
	// Someone may have written it since.
	b, err := r.indexBlob(ctx, transport.PushScope)
	if err != nil && status(err) != http.StatusNotFound {
		return err
	}
	r.mu.Lock()
	next := newKnown()
	for k := range r.used {
		if rec, ok := r.known.records[k]; ok {
			next.records[k] = rec
		}
	}
	if b.Digest == r.known.index {
		for k, rec := range r.known.records {
			if rec.indexed {
				next.records[k] = rec
			}
		}
	}
	known, used := r.known.index, maps.Clone(r.used)
	r.mu.Unlock()
	if !b.Digest.IsZero() && b.Digest != known {
		theirs, err := r.getIndex(ctx, b)
		if err == nil {
			next.merge(theirs)
		}
	}
	next.trim(time.Now(), used, maxIndexed)
	digest, err := r.client.putKnown(ctx, indexTag(r.project), next, time.Now(), to)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.takeIndex(next)
	r.known.index = digest
	r.change()
	return nil
}

// putKnown writes a snapshot index and returns the digest of its blob. It says that
// it was written at the given time.
func (c *client) putKnown(ctx context.Context, tag string, k *known, at time.Time, to transfer) (cache.Digest, error) {
	content, err := k.encode()
	if err != nil {
		return cache.Digest{}, err
	}
	for _, b := range [][]byte{content, emptyConfig} {
		if err := c.uploadBytes(ctx, b, to); err != nil {
			return cache.Digest{}, err
		}
	}
	m, err := indexManifest(content, at)
	if err != nil {
		return cache.Digest{}, err
	}
	return cache.DigestOf(content), c.put(ctx, c.repo.Tag(tag), m, to)
}

// indexManifest is the manifest of a snapshot index.
func indexManifest(content []byte, at time.Time) (rawManifest, error) {
	layer := v1.Descriptor{MediaType: IndexBlobType, Digest: hashOf(cache.DigestOf(content)), Size: int64(len(content))}
	return artifact(IndexType, []v1.Descriptor{layer}, map[string]string{createdAnnotation: at.UTC().Format(time.RFC3339)}).encode()
}

// indexLacks reports whether records of this run are not in the index.
func (r *repository) indexLacks() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k := range r.used {
		if rec, ok := r.known.records[k]; ok && !rec.indexed {
			return true
		}
	}
	return false
}
