package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/layout"
)

// contentStore is the store in containerd's terms, as a BuildKit daemon wants
// it to read linked images from and to export to. Labels are not kept, and
// nothing can be deleted or listed: no daemon has business with what it did not
// name by digest.
type contentStore struct {
	store   *cache.Store
	layouts []*layout.Layout // where blobs are that the store lacks
}

var _ content.Store = contentStore{}

// contentErr gives an error of the store the class that containerd expects.
func contentErr(err error) error {
	if errors.Is(err, cache.ErrMiss) {
		return fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	return err
}

func (s contentStore) Info(_ context.Context, dgst digest.Digest) (content.Info, error) {
	d, err := cache.ParseDigest(dgst.String())
	if err != nil {
		return content.Info{}, fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
	}
	size, err := s.store.BlobSize(d)
	if errors.Is(err, cache.ErrMiss) {
		if f, size, err := s.inLayout(d); err == nil {
			return content.Info{Digest: dgst, Size: size}, f.Close()
		}
	}
	if err != nil {
		return content.Info{}, contentErr(err)
	}
	return content.Info{Digest: dgst, Size: size}, nil
}

// inLayout opens a blob of the first layout that has it.
func (s contentStore) inLayout(d cache.Digest) (f *os.File, size int64, err error) {
	err = os.ErrNotExist
	for _, l := range s.layouts {
		if f, size, err = l.OpenBlob(d); err == nil {
			return f, size, nil
		}
	}
	return nil, 0, err
}

// Update accepts labels and forgets them.
func (s contentStore) Update(ctx context.Context, info content.Info, _ ...string) (content.Info, error) {
	return s.Info(ctx, info.Digest)
}

func (s contentStore) Walk(context.Context, content.WalkFunc, ...string) error {
	return fmt.Errorf("list blobs: %w", errdefs.ErrNotImplemented)
}

func (s contentStore) Delete(context.Context, digest.Digest) error {
	return fmt.Errorf("delete blob: %w", errdefs.ErrNotImplemented)
}

// ReaderAt opens a blob. What is read is not verified here: the daemon does it,
// since it takes nothing in that has another digest.
func (s contentStore) ReaderAt(ctx context.Context, desc ocispecs.Descriptor) (content.ReaderAt, error) {
	info, err := s.Info(ctx, desc.Digest)
	if err != nil {
		return nil, err
	}
	d, err := cache.ParseDigest(desc.Digest.String())
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.store.BlobPath(d), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) && len(s.layouts) > 0 {
		f, _, err = s.inLayout(d)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errdefs.ErrNotFound, err)
	}
	if err != nil {
		return nil, err
	}
	return blobReader{f, info.Size}, nil
}

type blobReader struct {
	*os.File
	size int64
}

func (r blobReader) Size() int64 { return r.size }

// Status finds nothing: an upload that broke off is begun anew.
func (s contentStore) Status(_ context.Context, ref string) (content.Status, error) {
	return content.Status{}, fmt.Errorf("upload %s: %w", ref, errdefs.ErrNotFound)
}

func (s contentStore) ListStatuses(context.Context, ...string) ([]content.Status, error) {
	return nil, nil
}

func (s contentStore) Abort(_ context.Context, ref string) error {
	return fmt.Errorf("upload %s: %w", ref, errdefs.ErrNotFound)
}

func (s contentStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	var o content.WriterOpts
	for _, opt := range opts {
		if err := opt(&o); err != nil {
			return nil, err
		}
	}
	if o.Desc.Digest != "" {
		if info, err := s.Info(ctx, o.Desc.Digest); err == nil && (o.Desc.Size <= 0 || o.Desc.Size == info.Size) {
			return nil, fmt.Errorf("blob %s: %w", o.Desc.Digest, errdefs.ErrAlreadyExists)
		}
	}
	blob, err := s.store.NewBlob()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &contentWriter{blob: blob, status: content.Status{
		Ref: o.Ref, Total: o.Desc.Size, Expected: o.Desc.Digest, StartedAt: now, UpdatedAt: now,
	}}, nil
}

// contentWriter is a blob on its way into the store. It is used by one stream
// at a time.
type contentWriter struct {
	blob   *cache.BlobWriter
	status content.Status
}

func (w *contentWriter) Write(p []byte) (int, error) {
	n, err := w.blob.Write(p)
	w.status.UpdatedAt = time.Now()
	return n, err
}

func (w *contentWriter) Digest() digest.Digest { return digest.Digest(w.blob.Digest().String()) }

func (w *contentWriter) Status() (content.Status, error) {
	w.status.Offset = w.blob.Size()
	return w.status, nil
}

// Truncate can only do what is done already: nothing that was written is taken back.
func (w *contentWriter) Truncate(size int64) error {
	if size != w.blob.Size() {
		return fmt.Errorf("truncate upload to %d bytes: %w", size, errdefs.ErrNotImplemented)
	}
	return nil
}

func (w *contentWriter) Commit(_ context.Context, size int64, expected digest.Digest, _ ...content.Opt) error {
	defer w.blob.Close()
	if size > 0 && size != w.blob.Size() {
		return fmt.Errorf("blob has %d bytes, not %d: %w", w.blob.Size(), size, errdefs.ErrFailedPrecondition)
	}
	var want cache.Digest
	if expected != "" {
		d, err := cache.ParseDigest(expected.String())
		if err != nil {
			return fmt.Errorf("%w: %w", errdefs.ErrInvalidArgument, err)
		}
		want = d
	}
	_, err := w.blob.Commit(want)
	if errors.Is(err, cache.ErrDamaged) {
		return fmt.Errorf("%w: %w", errdefs.ErrFailedPrecondition, err)
	}
	return err
}

func (w *contentWriter) Close() error { return w.blob.Close() }
