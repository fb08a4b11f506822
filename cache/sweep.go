package cache

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// foreignTemp is how old a temporary file without the name of a lease must be to
// be taken for a dead process's.
const foreignTemp = 24 * time.Hour

// Sweep removes what processes left that were killed: their leases, and their
// files in tmp/ and locks/.
func (s *Store) Sweep() error {
	if _, err := s.Leases(); err != nil { // after this, those that are there are of processes that live
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for fi, err := range eachInfo(s.root, "tmp") {
		if err != nil {
			errs = append(errs, err)
			break
		}
		owner, _, _ := strings.Cut(fi.Name(), "-")
		switch owned := len(owner) == leaseNameLen; {
		case owned && s.leaseLives(owner):
			continue
		case !owned && time.Since(fi.ModTime()) < foreignTemp:
			continue
		}
		errs = append(errs, s.root.RemoveAll(path.Join("tmp", fi.Name())))
	}
	if err := errors.Join(append(errs, s.sweepLocks())...); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// sweepLocks removes the lock files that nobody holds.
func (s *Store) sweepLocks() error {
	for fi, err := range eachInfo(s.root, "locks") {
		if err == nil && fi.Name() != sweepLock && fi.Name() != gateLock {
			_, err = removeIfFree(filepath.Join(s.dir, "locks", fi.Name()))
		}
		if err != nil {
			return fmt.Errorf("sweep locks: %w", err)
		}
	}
	return nil
}

// Daily reports whether the chore of that name is due, which it is once in 24
// hours, and remembers that it was.
func (s *Store) Daily(chore string) (due bool, err error) {
	name := path.Join("chores", chore)
	fi, err := s.root.Lstat(name)
	now := time.Now()
	if err == nil && now.Sub(fi.ModTime()) < 24*time.Hour && !fi.ModTime().After(now.Add(time.Hour)) {
		return false, nil
	}
	if err := s.root.MkdirAll("chores", 0o700); err != nil {
		return false, fmt.Errorf("chore %s: %w", chore, err)
	}
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|openNoFollow, 0o600)
	if err == nil {
		err = errors.Join(f.Close(), s.root.Chtimes(name, now, now))
	}
	if err != nil {
		return false, fmt.Errorf("chore %s: %w", chore, err)
	}
	return true, nil
}
