package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"bottlebuild/cache"
)

// Step is where one transfer reports to.
type Step interface {
	// Bytes reports how far the transfer has come, of a total.
	Bytes(id string, current, total int64)
	Done(error)
}

// Start begins the report of a transfer.
type Start func(name string) Step

const (
	downloadTries = 4
	// downloadPause is the longest that a registry can ask a download to wait:
	// after that, doing the work again is the better way.
	downloadPause = 5 * time.Second
	// heartbeat is how many bytes of a download are a sign of life.
	heartbeat = 64 << 10
)

// errWrongContent says that a registry sent other bytes than were asked for.
var errWrongContent = errors.New("it sent other content than was asked for")

// download brings one blob into the store. What arrived before a connection was
// cut is kept, and the rest is asked for.
func (c *client) download(ctx context.Context, store *cache.Store, b cache.Blob, step Step) error {
	d := download{client: c, store: store, blob: b, step: step}
	defer d.drop()
	wait := 100 * time.Millisecond
	for try := 1; ; try++ {
		err := d.once(ctx)
		var local *diskError
		switch {
		case err == nil, ctx.Err() != nil, errors.As(err, &local), try == downloadTries, !passes(err):
			return err
		}
		if perr := c.health.sleep(ctx, wait); perr != nil {
			return perr
		}
		wait *= 3
	}
}

// diskError is a failure of this machine, not of the registry.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

type download struct {
	client   *client
	store    *cache.Store
	blob     cache.Blob
	step     Step
	writer   *cache.BlobWriter
	told     int64
	received int64 // over all tries
}

func (d *download) drop() {
	if d.writer != nil {
		d.writer.Close()
		d.writer = nil
	}
}

func (d *download) once(ctx context.Context) error {
	if err := d.client.health.rest(ctx, downloadPause); err != nil {
		return err
	}
	ctx, alive, done := d.client.health.watch(ctx)
	defer done()
	// A registry serves manifests under a name of their own.
	header, kind := http.Header{}, "blobs"
	if isManifest(d.blob) {
		header, kind = http.Header{"Accept": {d.blob.MediaType}}, "manifests"
	}
	if d.writer != nil && d.writer.Size() > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", d.writer.Size()))
	}
	resp, err := d.client.request(ctx, transport.PullScope, kind, d.blob.Digest.String(), header)
	if err != nil {
		return cause(ctx, err)
	}
	defer resp.Body.Close()
	alive()
	switch {
	case resp.StatusCode == http.StatusPartialContent && d.resumes(resp):
	case resp.StatusCode == http.StatusOK:
		d.drop()
	case resp.StatusCode == http.StatusPartialContent, resp.StatusCode == http.StatusRequestedRangeNotSatisfiable:
		d.drop()
		return fmt.Errorf("it cannot go on where it was cut: %w", io.ErrUnexpectedEOF)
	default:
		return answered(resp)
	}
	if d.writer == nil {
		if d.writer, err = d.store.NewBlob(); err != nil {
			return &diskError{err}
		}
	}
	if err := d.copy(ctx, resp.Body, alive); err != nil {
		return err
	}
	if d.writer.Size() != d.blob.Size {
		if d.writer.Size() > d.blob.Size {
			d.drop()
			return fmt.Errorf("%w: more than %d bytes", errWrongContent, d.blob.Size)
		}
		return fmt.Errorf("it sent %d of %d bytes: %w", d.writer.Size(), d.blob.Size, io.ErrUnexpectedEOF)
	}
	if _, err := d.writer.Commit(d.blob.Digest); errors.Is(err, cache.ErrDamaged) {
		d.drop()
		return errWrongContent
	} else if err != nil {
		return &diskError{err}
	}
	return nil
}

// resumes reports whether an answer goes on where the last one was cut.
func (d *download) resumes(resp *http.Response) bool {
	var first, last, size int64
	_, err := fmt.Sscanf(resp.Header.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
	return err == nil && d.writer != nil && first == d.writer.Size() && size == d.blob.Size
}

// copy takes the body, one byte more than it may have at most.
func (d *download) copy(ctx context.Context, body io.Reader, alive func()) error {
	buf := make([]byte, heartbeat)
	for d.writer.Size() <= d.blob.Size {
		room := min(int64(len(buf)), d.blob.Size+1-d.writer.Size())
		n, err := io.ReadFull(body, buf[:room])
		if n > 0 {
			if n == len(buf) {
				alive()
			}
			if _, werr := d.writer.Write(buf[:n]); werr != nil {
				return &diskError{fmt.Errorf("write blob %s: %w", d.blob.Digest, werr)}
			}
			d.received += int64(n)
			if d.writer.Size()-d.told >= 1<<20 || d.writer.Size() >= d.blob.Size {
				d.told = d.writer.Size()
				d.step.Bytes(d.blob.Digest.String(), d.told, d.blob.Size)
			}
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			// A body that is shorter than was announced ends so too; the size tells.
			return nil
		case err != nil:
			return cause(ctx, err)
		}
	}
	return nil
}
