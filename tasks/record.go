package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"bottlebuild/cache"
)

// Record is what bottlebuild remembers of a machine that it made, so that it can
// be operated without the bottle file. It holds references to secrets, never a
// value. What the bottle file marks as sensitive is in it, as it is in the
// machine: in the machine's environment and files.
type Record struct {
	Machine Machine   `json:"machine"`
	Backend string    `json:"backend"` // the one it was made with; never auto
	Address string    `json:"address"`
	Spec    cache.Key `json:"spec"`
	// Complete is false from before the machine is created until it has been
	// provisioned and was ready: nobody has used it yet, so it may be thrown away.
	Complete bool `json:"complete"`
	// Failure is why a machine that is not complete was kept; or empty.
	Failure string `json:"failure,omitempty"`
}

// Records keeps one file, mode 0600, per machine in a directory.
type Records struct{ Dir string }

const maxRecord = 16 << 20 // bytes

// Get returns the record of a machine; the error wraps [fs.ErrNotExist] if
// bottlebuild has none.
func (r Records) Get(name string) (*Record, error) {
	fi, err := os.Lstat(r.path(name))
	if err != nil {
		return nil, fmt.Errorf("record of machine %s: %w", name, err)
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxRecord {
		return nil, fmt.Errorf("record of machine %s: %s is no record", name, r.path(name))
	}
	b, err := os.ReadFile(r.path(name))
	if err != nil {
		return nil, fmt.Errorf("record of machine %s: %w", name, err)
	}
	rec := &Record{}
	if err := json.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("record of machine %s: %s: %w", name, r.path(name), err)
	}
	return rec, nil
}

// Has reports whether there is a record of a machine of that name.
func (r Records) Has(name string) bool {
	_, err := os.Lstat(r.path(name))
	return err == nil
}

// Put replaces the record of rec.Machine.Name, atomically.
func (r Records) Put(rec *Record) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("record machine %s: %w", rec.Machine.Name, err)
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return fmt.Errorf("record machine %s: %w", rec.Machine.Name, err)
	}
	r.sweep(rec.Machine.Name)
	if err := renameio.WriteFile(r.path(rec.Machine.Name), b, 0o600, renameio.WithTempDir(r.Dir)); err != nil {
		return fmt.Errorf("record machine %s: %w", rec.Machine.Name, err)
	}
	return nil
}

// sweep removes what processes that were killed as they wrote the record have
// left. The machine is locked by whoever writes.
func (r Records) sweep(name string) {
	left, _ := filepath.Glob(filepath.Join(r.Dir, "."+name+".json*"))
	for _, path := range left {
		os.Remove(path) // failing that, it is tried again the next time
	}
}

// Delete removes the record of a machine; one that is not there is no error.
func (r Records) Delete(name string) error {
	r.sweep(name)
	if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget machine %s: %w", name, err)
	}
	return nil
}

func (r Records) path(name string) string { return filepath.Join(r.Dir, name+".json") }

// Names returns the names of the machines that have records, sorted.
func (r Records) Names() ([]string, error) {
	entries, err := os.ReadDir(r.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list records of machines: %w", err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".json"); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names, nil
}

const lockPoll = 20 * time.Millisecond

// Lock waits until no other process changes the machine of that name, and keeps
// others waiting until unlock is called. The lock is where the records are,
// since processes with different caches may share those.
func (r Records) Lock(ctx context.Context, name string) (unlock func(), err error) {
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("lock machine %s: %w", name, err)
	}
	for {
		f := flock.New(filepath.Join(r.Dir, name+".lock"), flock.SetPermissions(0o600))
		if _, err := f.TryLockContext(ctx, lockPoll); err != nil {
			f.Close()
			return nil, fmt.Errorf("lock machine %s: %w", name, err)
		}
		// Its holder removes the file, so that no such files pile up; hence a lock
		// counts only if the file is still the one of that name.
		held, err := f.Stat()
		if err == nil {
			var named fs.FileInfo
			if named, err = os.Lstat(f.Path()); err == nil && os.SameFile(held, named) {
				return func() { os.Remove(f.Path()); f.Close() }, nil
			}
		}
		f.Close()
	}
}
