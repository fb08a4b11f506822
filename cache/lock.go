package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
)

// Lock waits until no other process or goroutine works on k, and keeps others
// waiting until unlock is called. The error is ctx's, or the disk's.
func (s *Store) Lock(ctx context.Context, k Key) (unlock func(), err error) {
	return s.lockFile(ctx, k.Hex())
}

// LockName is [Store.Lock] for what has a name and no key. Names hold neither
// slashes nor 64 hex digits.
func (s *Store) LockName(ctx context.Context, name string) (unlock func(), err error) {
	return s.lockFile(ctx, name)
}

const lockPoll = 20 * time.Millisecond

func (s *Store) lockFile(ctx context.Context, name string) (unlock func(), err error) {
	if s.view != nil {
		return func() {}, nil
	}
	path := filepath.Join(s.dir, "locks", name)
	for {
		f := flock.New(path, flock.SetPermissions(0o600))
		if _, err := f.TryLockContext(ctx, lockPoll); err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if current(f, path) {
			return func() { removeAndClose(f) }, nil
		}
		f.Close() // removed between opening and locking it: others lock another file
	}
}

// tryLockFile is lockFile for who does not wait; ok tells whether it is locked.
func (s *Store) tryLockFile(name string) (unlock func(), ok bool, err error) {
	path := filepath.Join(s.dir, "locks", name)
	f := flock.New(path, flock.SetPermissions(0o600))
	locked, err := f.TryLock()
	if err != nil {
		return nil, false, fmt.Errorf("lock %s: %w", name, err)
	}
	if !locked || !current(f, path) {
		f.Close()
		return nil, false, nil
	}
	return func() { removeAndClose(f) }, true, nil
}

// removeAndClose gives a lock back and leaves no file. Whoever waits for it
// finds out that it has another file now, see current.
func removeAndClose(f *flock.Flock) {
	os.Remove(f.Path()) // what stays behind is swept some day
	f.Close()
}

// current reports whether the locked file is the one that is at path now.
func current(f *flock.Flock, path string) bool {
	mine, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(mine, there)
}

// removeIfFree removes a flock file that nobody holds. Whoever opened it before
// finds out, see current.
func removeIfFree(path string) (removed bool, err error) {
	f := flock.New(path, flock.SetFlag(os.O_RDONLY))
	locked, err := f.TryLock()
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || !locked {
		return false, err
	}
	defer f.Close()
	if !current(f, path) {
		return false, nil
	}
	if err := os.Remove(path); err != nil {
		return false, err
	}
	return true, nil
}

// The file locks/sweep is what those who remove things hold exclusively, for a
// slice of at most sliceTime each, and those shared who rely on a thing that no
// lease protects yet, for a few system calls. Both take it under locks/gate, so
// that who wants it exclusively has its turn however many share it.

const (
	sweepLock = "sweep"
	gateLock  = "gate"
)

// lockShared keeps others from removing anything until unlock is called.
func (s *Store) lockShared() (unlock func(), err error) {
	return s.lockSweep((*flock.Flock).RLock)
}

// lockExclusive waits for the right to remove things.
func (s *Store) lockExclusive() (unlock func(), err error) {
	return s.lockSweep((*flock.Flock).Lock)
}

func (s *Store) lockSweep(lock func(*flock.Flock) error) (unlock func(), err error) {
	gate := flock.New(filepath.Join(s.dir, "locks", gateLock), flock.SetPermissions(0o600))
	if err := gate.Lock(); err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	defer gate.Close()
	f := flock.New(filepath.Join(s.dir, "locks", sweepLock), flock.SetPermissions(0o600))
	if err := lock(f); err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	return func() { f.Close() }, nil
}
