//go:build unix

package cachetest

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Work is done in an empty directory where something is lacking.
type Work struct {
	Try func(dir string) error
	// Right tells whether an error is what the lack is to come to.
	Right func(error) bool
	// Check looks at what has been left, when nothing is lacking any more.
	Check func(dir string) error
}

// check is Check, after a look at the error of Try.
func (w Work) check(dir string, err error) error {
	if err != nil && !w.Right(err) {
		return fmt.Errorf("it failed with: %w", err)
	}
	return w.Check(dir)
}

// WithFewFiles does the work with every limit of open files up to one that
// suffices, each in a directory of its own below dir. It returns how many were too
// low. It is for a process of its own: the limit is of all of it.
func WithFewFiles(dir string, w Work) (failed int, err error) {
	var usual unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
		return 0, err
	}
	for n := uint64(3); ; n++ {
		dir := filepath.Join(dir, fmt.Sprint(n))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return failed, err
		}
		if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: n, Max: usual.Max}); err != nil {
			return failed, err
		}
		tried := w.Try(dir)
		if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: usual.Cur, Max: usual.Max}); err != nil {
			return failed, err
		}
		if err := w.check(dir, tried); err != nil {
			return failed, fmt.Errorf("with %d files: %w", n, err)
		}
		if tried == nil {
			return failed, nil
		}
		failed++
	}
}
