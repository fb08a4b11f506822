package cache

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"
)

// What quarantine/ holds at most; the oldest goes first.
const (
	maxQuarantineFiles = 64
	maxQuarantineBytes = 1 << 30
)

// quarantine moves a damaged file out of the way, where people can look at it, and
// leaves a sign that it was damaged.
func (s *Store) quarantine(name string) error {
	if s.view != nil {
		s.view.hide(name)
		return nil
	}
	to := path.Join("quarantine", path.Base(name)+"-"+time.Now().UTC().Format("20060102T150405.000000000"))
	err := s.root.Rename(name, to)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("quarantine %s: %w", name, err)
	}
	if err == nil {
		s.signDamaged(name)
	}
	_, err = s.trimQuarantine(maxQuarantineFiles, maxQuarantineBytes, time.Time{}, false)
	return err
}

// trimQuarantine removes what is over the bounds or older than the given time,
// or with dry only counts it, and returns how many bytes that is.
func (s *Store) trimQuarantine(files int, bytes int64, oldest time.Time, dry bool) (freed int64, err error) {
	list, err := readInfos(s.root, "quarantine")
	if err != nil {
		return 0, fmt.Errorf("trim quarantine: %w", err)
	}
	// By when they were put there, which is the end of their names.
	stamp := func(fi fs.FileInfo) string {
		const n = len("20060102T150405.000000000")
		return fi.Name()[max(0, len(fi.Name())-n):]
	}
	slices.SortFunc(list, func(a, b fs.FileInfo) int { return cmp.Compare(stamp(b), stamp(a)) })
	var kept int64
	var errs []error
	for i, fi := range list {
		if i < files && kept+fi.Size() <= bytes && stamp(fi) >= oldest.UTC().Format("20060102T150405") {
			kept += fi.Size()
			continue
		}
		freed += fi.Size()
		if dry {
			continue
		}
		if err := s.root.RemoveAll(path.Join("quarantine", fi.Name())); err != nil {
			errs = append(errs, fmt.Errorf("trim quarantine: %w", err))
		}
	}
	return freed, errors.Join(errs...)
}
