package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bottlebuild/cache"

	"github.com/google/renameio/v2"
)

// Record is what bottlebuild remembers of a machine that it made, so that it can
// be operated without the bottle file. It holds no secret.
type Record struct {
	Machine Machine   `json:"machine"`
	Backend string    `json:"backend"` // the one it was made with; never auto
	Address string    `json:"address"`
	Spec    cache.Key `json:"spec"`
	// Complete is false from before the machine is created until it has been
	// provisioned and was ready: nobody has used it yet, so it may be thrown away.
	Complete bool `json:"complete"`
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

// Put replaces the record of rec.Machine.Name, atomically.
func (r Records) Put(rec *Record) error {
	b, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return fmt.Errorf("record machine %s: %w", rec.Machine.Name, err)
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return fmt.Errorf("record machine %s: %w", rec.Machine.Name, err)
	}
	if err := renameio.WriteFile(r.path(rec.Machine.Name), b, 0o600); err != nil {
		return fmt.Errorf("record machine %s: %w", rec.Machine.Name, err)
	}
	return nil
}

// Delete removes the record of a machine; one that is not there is no error.
func (r Records) Delete(name string) error {
	if err := os.Remove(r.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget machine %s: %w", name, err)
	}
	return nil
}

func (r Records) path(name string) string { return filepath.Join(r.Dir, name+".json") }
