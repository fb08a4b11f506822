package cache

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// foreignTemp is how old a temporary file without the name of a lease must be to
// be taken for a dead process's.
const foreignTemp = 24 * time.Hour

// freeLock is how old a lock file that nobody holds must be to be removed.
const freeLock = time.Hour

// Sweep removes what processes left that were killed: their leases, and their
// files in tmp/.
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
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

// sweepLocks removes the lock files of processes that were killed.
func (s *Store) sweepLocks(ctx context.Context) error {
	for fi, err := range eachInfo(s.root, "locks") {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err == nil && fi.Name() != path.Base(s.sweepLockPath()) && time.Since(fi.ModTime()) > freeLock {
			_, err = removeIfFree(filepath.Join(s.dir, "locks", fi.Name()))
		}
		if err != nil {
			return fmt.Errorf("sweep locks: %w", err)
		}
	}
	return nil
}
