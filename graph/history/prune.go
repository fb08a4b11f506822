package history

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// prune removes the oldest records over the bounds, and what killed runs left
// half written. It looks at every record, so a run that did no work leaves that
// to another as long as there are few too many.
func (l Log) prune(now bool) error {
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("prune runs: %w", err)
	}
	if !now && len(entries) <= MaxRuns+slack {
		return nil
	}
	slices.SortFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(b.Name(), a.Name()) })
	var errs []error
	var size int64
	runs := 0
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			continue // another process has removed it
		}
		drop := strings.HasPrefix(e.Name(), ".tmp-") && time.Since(fi.ModTime()) > time.Hour
		if strings.HasSuffix(e.Name(), suffix) {
			runs++
			size += fi.Size()
			drop = runs > 1 && (runs > MaxRuns || size > MaxBytes)
		}
		if drop {
			if err := os.Remove(filepath.Join(l.Dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("prune runs: %w", err))
			}
		}
	}
	return errors.Join(errs...)
}
