//go:build !linux

package buildkit

import (
	"context"
	"fmt"
	"runtime"
)

// Serve runs the embedded BuildKit daemon, which exists on Linux only.
func Serve(context.Context, DaemonConfig) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, EmbeddedUsable(""))
}

// EmbeddedUsable tells that the embedded daemon cannot work here.
func EmbeddedUsable(string) error {
	return fmt.Errorf("the embedded BuildKit does not run on %s; name a BuildKit on Linux with --builder or BUILDKIT_HOST", runtime.GOOS)
}
