package cache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"
)

// usedSuffix ends the name of the file whose time of modification is when the
// directory beside it was used last, see [Store.Use].
const usedSuffix = ".used"

// Use protects a directory that another package keeps in the store's, by its
// name in it, "rootfs/x", from [Store.Evict] for as long as the store's lease
// lasts, as [Store.Hold] protects what the store finds. Without a lease it does
// nothing. The error wraps [fs.ErrNotExist] if it is not there.
func (s *Store) Use(name string) error {
	begin := s.lease.begin.Load()
	if begin == 0 {
		return nil
	}
	if fi, err := s.root.Lstat(name + usedSuffix); err == nil && fi.ModTime().UnixNano() >= begin-int64(useInterval) {
		return nil
	}
	unlock, err := s.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.root.Lstat(name); err != nil {
		return fmt.Errorf("use %s: %w", name, err)
	}
	f, err := s.root.OpenFile(name+usedSuffix, os.O_CREATE|os.O_WRONLY|openNoFollow, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		err = s.stamp(s.root, name+usedSuffix)
	}
	if err != nil {
		return fmt.Errorf("use %s: %w", name, err)
	}
	return nil
}

// Used returns when [Store.Use] was last called for a directory of that name,
// to the hour; the zero time if never.
func (s *Store) Used(name string) time.Time {
	fi, err := s.root.Lstat(name + usedSuffix)
	if err != nil {
		return time.Time{}
	}
	return fi.ModTime()
}

// Evict removes a directory that another package keeps in the store's, unless a
// process with a lease uses it or needed says otherwise. While needed is called
// nobody comes to use it.
func (s *Store) Evict(name string, needed func() (bool, error)) (removed bool, err error) {
	unlock, err := s.lockExclusive()
	if err != nil {
		return false, fmt.Errorf("evict %s: %w", name, err)
	}
	defer func() { unlock() }()
	held, err := s.heldSince()
	if err != nil {
		return false, fmt.Errorf("evict %s: %w", name, err)
	}
	if !s.Used(name).Before(held) {
		return false, nil
	}
	if yes, err := needed(); err != nil || yes {
		return false, err
	}
	to := path.Join("tmp", prunedPrefix+rand.Text())
	switch err := s.root.Rename(name, to); {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("evict %s: %w", name, err)
	}
	s.root.Remove(name + usedSuffix) // alone it means nothing
	unlock()                         // the rest takes long and bothers nobody
	unlock = func() {}
	if err := s.root.RemoveAll(to); err != nil {
		return true, fmt.Errorf("evict %s: %w", name, err)
	}
	return true, nil
}
