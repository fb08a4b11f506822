package cache

import (
	"os"
	"path/filepath"
	"time"
)

// Impatient makes a process of a test rely on nothing but leases: times of use
// are exact, and most blobs count as big.
func Impatient() { useInterval, clockMargin, bigBlob = 0, 20*time.Millisecond, 2000 }

// PutUnsynced is Put without what makes it durable, for very many entries.
func (s *Store) PutUnsynced(e *Entry) error {
	b, err := e.encode()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, entryPath(e.Key))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
