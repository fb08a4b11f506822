package container

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gofrs/flock"
)

const lockPoll = 20 * time.Millisecond

// lock waits for the flock on the file, which it makes, until ctx ends. Its
// holder removes the file with the lock, so that no such files pile up; hence a
// lock counts only if the file is still the one of that name.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	for {
		f := flock.New(path, flock.SetPermissions(0o600))
		if _, err := f.TryLockContext(ctx, lockPoll); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if current(f) {
			return func() { release(f) }, nil
		}
		f.Close()
	}
}

// tryLock is lock without the wait.
func tryLock(path string) (unlock func(), ok bool) {
	f := flock.New(path, flock.SetPermissions(0o600))
	if ok, err := f.TryLock(); err == nil && ok && current(f) {
		return func() { release(f) }, true
	}
	f.Close()
	return nil, false
}

func current(f *flock.Flock) bool {
	held, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Path())
	return err == nil && os.SameFile(held, named)
}

func release(f *flock.Flock) {
	os.Remove(f.Path())
	f.Close()
}
