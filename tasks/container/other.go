//go:build !linux

package container

import (
	"context"
	"fmt"
	"io"
	"net"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// Off Linux there are no containers, and so no machines.
var errNotLinux = fmt.Errorf("%w: container: it needs Linux; use the smolvm backend", backend.ErrUnavailable)

func missing(name string) error { return fmt.Errorf("%w: %s", backend.ErrNotFound, name) }

// Preflight implements [backend.Backend].
func (b *Backend) Preflight(context.Context) (backend.Info, error) {
	return backend.Info{}, errNotLinux
}

// Pack implements [backend.Backend].
func (b *Backend) Pack(context.Context, backend.PackRequest) (cache.Output, error) {
	return cache.Output{}, errNotLinux
}

// CheckPack implements [backend.Backend].
func (b *Backend) CheckPack(context.Context, cache.Output) error { return errNotLinux }

// Create implements [backend.Backend].
func (b *Backend) Create(context.Context, backend.Spec, cache.Output) error { return errNotLinux }

// Start implements [backend.Backend].
func (b *Backend) Start(_ context.Context, name string) error { return missing(name) }

// Stop implements [backend.Backend].
func (b *Backend) Stop(_ context.Context, name string) error { return missing(name) }

// Delete implements [backend.Backend].
func (b *Backend) Delete(context.Context, string) error { return nil }

// Status implements [backend.Backend].
func (b *Backend) Status(_ context.Context, name string) (backend.Status, error) {
	return backend.Status{}, missing(name)
}

// List implements [backend.Backend].
func (b *Backend) List(context.Context) ([]backend.Status, error) { return nil, nil }

// Exec implements [backend.Backend].
func (b *Backend) Exec(_ context.Context, name string, _ backend.Exec) (int, error) {
	return -1, missing(name)
}

// CopyIn implements [backend.Backend].
func (b *Backend) CopyIn(_ context.Context, name string, _ backend.File) error { return missing(name) }

// Dial implements [backend.Backend].
func (b *Backend) Dial(_ context.Context, name string, _ int) (net.Conn, error) {
	return nil, missing(name)
}

// Log implements [backend.Backend].
func (b *Backend) Log(_ context.Context, name string, _ int64) ([]byte, error) {
	return nil, missing(name)
}

// Unpack implements [backend.Backend].
func (b *Backend) Unpack(_ context.Context, name, _, _ string, _ io.Reader) error {
	return missing(name)
}

// CopyOut implements [backend.Backend].
func (b *Backend) CopyOut(_ context.Context, name, _ string, _ io.Writer) error {
	return missing(name)
}

// Console implements [backend.Backend].
func (b *Backend) Console(_ context.Context, name string) (string, error) { return "", missing(name) }

// Kept implements [backend.Keeper].
func (b *Backend) Kept(context.Context) ([]backend.Kept, error) { return nil, nil }

// Drop implements [backend.Keeper].
func (b *Backend) Drop(context.Context, string) (bool, error) { return false, nil }
