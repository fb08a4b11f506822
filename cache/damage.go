package cache

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// The sign that an entry or a blob was found damaged is an empty file named by its
// key or digest, for as long as nothing has been put in its place: a plan that finds
// nothing there says so instead of calling it evicted. What quarantine/ itself holds
// is no such sign: it is bounded in bytes, and stays when all is well again.
const damagedDir = "damaged"

// maxSigns bounds the signs whose names begin with the same byte; the oldest go first.
const maxSigns = 64

// signOf is the path of the sign for a file of the store; ok is false if it has none.
func signOf(name string) (sign string, ok bool) {
	if !strings.HasPrefix(name, "entries/") && !strings.HasPrefix(name, "blobs/") {
		return "", false
	}
	return hashed(damagedDir, path.Base(name)), true
}

// signDamaged leaves the sign for a file that was quarantined. A failure is passed
// over: without the sign a miss is only explained less well.
func (s *Store) signDamaged(name string) {
	sign, ok := signOf(name)
	if !ok || s.root.MkdirAll(path.Dir(sign), 0o700) != nil {
		return
	}
	f, err := s.root.OpenFile(sign, os.O_CREATE|os.O_WRONLY|openNoFollow, 0o600)
	if err != nil {
		return
	}
	f.Close()
	list, err := readInfos(s.root, path.Dir(sign))
	if err != nil || len(list) <= maxSigns {
		return
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, fi := range list[:len(list)-maxSigns] {
		s.root.Remove(hashed(damagedDir, fi.Name()))
	}
}

// clearDamaged removes the sign for a file that was put.
func (s *Store) clearDamaged(name string) {
	if sign, ok := signOf(name); ok {
		s.root.Remove(sign) // as a rule there is none
	}
}

// foundDamaged reports whether a file of the store that is not there was damaged
// when it was seen last.
func (s *Store) foundDamaged(name string) bool {
	if s.view.hides(name) {
		return true
	}
	sign, ok := signOf(name)
	if !ok {
		return false
	}
	_, err := lstat(s.root, sign)
	return err == nil
}

// dropSigns removes the signs that are older than the given time.
func (s *Store) dropSigns(oldest time.Time) error {
	for fi, err := range eachHashed(s.root, damagedDir) {
		if err == nil && fi.ModTime().Before(oldest) {
			err = s.root.Remove(hashed(damagedDir, fi.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
