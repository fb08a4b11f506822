package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"
)

// Sweep removes from tmp/ what is older than age: what processes left there that
// were killed. Younger files may belong to one that is alive.
func (s *Store) Sweep(age time.Duration) error {
	entries, err := fs.ReadDir(s.root.FS(), "tmp")
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil && time.Since(fi.ModTime()) > age {
			err = s.root.RemoveAll(path.Join("tmp", e.Name()))
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep: %w", err))
		}
	}
	return errors.Join(errs...)
}
