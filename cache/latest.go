package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// Mark records that an entry with such a recipe, less the inputs that were not
// known when it was planned, has been made. A plan asks for the mark to tell
// work that must run from work that may be found when its inputs are known.
//
// A mark is at most markInterval older than the newest entry that it stands for,
// so that marks can be removed that are older than every entry.
func (s *Store) Mark(partial Key) error {
	name := hashed("marks", partial.Hex())
	if fi, err := s.root.Lstat(name); err == nil {
		now := time.Now()
		if now.Sub(fi.ModTime()) < markInterval {
			return nil
		}
		if err := s.root.Chtimes(name, now, now); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return s.publish(name, nil)
}

const markInterval = time.Hour

// Marked reports whether [Store.Mark] was called with this key.
func (s *Store) Marked(partial Key) bool {
	_, err := lstat(s.root, hashed("marks", partial.Hex()))
	return err == nil
}

// SetLatest records k as the newest key of the node at address in scope, which
// tells one project from another. A later miss of that node is explained by
// comparing recipes with this one.
func (s *Store) SetLatest(scope, address string, k Key) error {
	if old, err := s.Latest(scope, address); err == nil && old == k {
		return nil
	}
	return s.publish(latestPath(scope, address), []byte(k.String()+"\n"))
}

// Latest returns what [Store.SetLatest] recorded; the error wraps [ErrMiss] if
// that is nothing.
func (s *Store) Latest(scope, address string) (Key, error) {
	b, err := readFile(s.root, latestPath(scope, address), 256)
	if errors.Is(err, fs.ErrNotExist) {
		return Key{}, fmt.Errorf("latest key of %s: %w", address, ErrMiss)
	}
	if err != nil {
		return Key{}, fmt.Errorf("latest key of %s: %w", address, err)
	}
	k, err := parseLatest(b)
	if err != nil {
		return Key{}, fmt.Errorf("latest key of %s: %w: %w", address, ErrMiss, err)
	}
	return k, nil
}

func parseLatest(b []byte) (Key, error) { return ParseKey(strings.TrimSpace(string(b))) }

func latestPath(scope, address string) string {
	return hashed("latest", DigestOf([]byte(scope+"\x00"+address)).Hex())
}

func hashed(dir, hex string) string { return path.Join(dir, hex[:2], hex) }
