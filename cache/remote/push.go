package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

const (
	pushTries = 3
	// pushPause is the longest that a registry can ask an upload to wait.
	pushPause = 30 * time.Second
	// transfers is how many blobs of one entry are in transfer at once.
	transfers = 4
)

// transfer is told of what is sent.
type transfer struct {
	sent func(int64) // bytes that the registry has taken
	step Step        // how far each blob has come
}

// unseen is the Step of what nobody watches.
type unseen struct{}

func (unseen) Bytes(string, int64, int64) {}
func (unseen) Done(error)                 {}

// push sends everything of an entry, and its record last: what is there before
// is of no use to anybody.
func (c *client) push(ctx context.Context, store *cache.Store, u *upload, tag string, to transfer) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	g.Go(func() error { return c.uploadBytes(gctx, emptyConfig, to) })
	for _, b := range u.blobs {
		g.Go(func() error { return c.uploadBlob(gctx, store, b, to) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, m := range u.manifests {
		raw, err := store.ReadBlob(m.Digest, maxManifest)
		if err != nil {
			return err
		}
		if err := c.put(ctx, c.repo.Digest(m.Digest.String()), rawManifest{raw, types.MediaType(m.MediaType)}, to); err != nil {
			return fmt.Errorf("manifest %s: %w", m.Digest, err)
		}
	}
	if u.parts != nil {
		if err := c.put(ctx, c.repo.Digest(cache.DigestOf(u.parts.raw).String()), *u.parts, to); err != nil {
			return err
		}
	}
	return c.put(ctx, c.repo.Tag(tag), u.record, to)
}

// again tries what may pass a few times.
func (c *client) again(ctx context.Context, op func(context.Context, func()) error) error {
	wait := 500 * time.Millisecond
	for try := 1; ; try++ {
		err := func() error {
			if err := c.health.rest(ctx, pushPause); err != nil {
				return err
			}
			ctx, alive, done := c.health.watch(ctx)
			defer done()
			if err := op(ctx, alive); err != nil {
				return cause(ctx, err)
			}
			return nil
		}()
		// A token that expired while a body was sent is exchanged on the next try.
		if err == nil || ctx.Err() != nil || try == pushTries || !passes(err) && status(err) != http.StatusUnauthorized {
			return err
		}
		if perr := c.health.sleep(ctx, wait); perr != nil {
			return perr
		}
		wait *= 3
	}
}

func (c *client) put(ctx context.Context, ref name.Reference, m rawManifest, to transfer) error {
	err := c.again(ctx, func(ctx context.Context, _ func()) error {
		s, err := c.session(ctx, transport.PushScope)
		if err != nil {
			return err
		}
		return s.pusher.Put(ctx, ref, m)
	})
	if err == nil {
		to.sent(int64(len(m.raw)))
	}
	return err
}

func (c *client) uploadBlob(ctx context.Context, store *cache.Store, b cache.Blob, to transfer) error {
	open := func() (io.ReadCloser, error) { return store.OpenBlob(b.Digest) }
	if err := c.upload(ctx, b, open, to); err != nil {
		return fmt.Errorf("blob %s: %w", b.Digest, err)
	}
	return nil
}

func (c *client) uploadBytes(ctx context.Context, content []byte, to transfer) error {
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil }
	return c.upload(ctx, cache.Blob{Digest: cache.DigestOf(content), Size: int64(len(content))}, open, to)
}

// upload sends a blob unless the repository has it.
func (c *client) upload(ctx context.Context, b cache.Blob, open func() (io.ReadCloser, error), to transfer) error {
	layer := &sentLayer{blob: b, open: open, step: to.step}
	l, err := partial.CompressedToLayer(layer)
	if err != nil {
		return err
	}
	err = c.again(ctx, func(ctx context.Context, alive func()) error {
		s, err := c.session(ctx, transport.PushScope)
		if err != nil {
			return err
		}
		layer.alive, layer.sent = alive, false
		return s.pusher.Upload(ctx, c.repo, l)
	})
	if err == nil && layer.sent {
		to.sent(b.Size)
		to.step.Bytes(b.Digest.String(), b.Size, b.Size)
	}
	return err
}

// sentLayer is a blob in the library's form, which tells whether it was read.
type sentLayer struct {
	blob  cache.Blob
	open  func() (io.ReadCloser, error)
	step  Step
	alive func()
	sent  bool
}

func (l *sentLayer) Digest() (v1.Hash, error) { return hashOf(l.blob.Digest), nil }
func (l *sentLayer) Size() (int64, error)     { return l.blob.Size, nil }
func (l *sentLayer) MediaType() (types.MediaType, error) {
	return types.OCILayer, nil // which upload there is does not depend on it
}

func (l *sentLayer) Compressed() (io.ReadCloser, error) {
	l.sent = true
	r, err := l.open()
	if err != nil {
		return nil, err
	}
	told := func(n int64) {
		l.alive()
		l.step.Bytes(l.blob.Digest.String(), min(n, l.blob.Size-1), l.blob.Size) // the registry has yet to take it
	}
	return &living{ReadCloser: r, alive: told}, nil
}

// living calls alive as it is read, with how many bytes have been.
type living struct {
	io.ReadCloser
	alive func(n int64)
	told  int64
	n     int64
}

func (r *living) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if r.n += int64(n); r.n-r.told >= heartbeat {
		r.told = r.n
		r.alive(r.n)
	}
	return n, err
}
