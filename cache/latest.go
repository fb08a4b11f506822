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

// maxRecent is how many keys of an address are remembered.
const maxRecent = 8

// maxLatest bounds the file of an address, in bytes: a line per key.
const maxLatest = 1 << 10

// SetLatest records k as the newest key of the node at address in scope, which
// tells one project from another, before those that it had. A later miss of that
// node is explained by comparing recipes with theirs. Of two processes that do
// this at once, what one has added may be lost.
func (s *Store) SetLatest(scope, address string, k Key) error {
	old, err := s.Recent(scope, address)
	if err == nil && old[0] == k {
		return nil
	}
	var text strings.Builder
	fmt.Fprintln(&text, k)
	kept := 1
	for _, o := range old {
		if o != k && kept < maxRecent {
			fmt.Fprintln(&text, o)
			kept++
		}
	}
	return s.publish(latestPath(scope, address), []byte(text.String()))
}

// Recent returns the keys that [Store.SetLatest] recorded last, the newest first,
// each once; there is at least one. The error wraps [ErrMiss] if it recorded none.
func (s *Store) Recent(scope, address string) ([]Key, error) {
	b, err := readFile(s.root, latestPath(scope, address), maxLatest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("latest key of %s: %w", address, ErrMiss)
	}
	if err != nil {
		return nil, fmt.Errorf("latest key of %s: %w", address, err)
	}
	keys, err := parseLatest(b)
	if err != nil {
		return nil, fmt.Errorf("latest key of %s: %w: %w", address, ErrMiss, err)
	}
	return keys, nil
}

// Latest returns the first key of [Store.Recent].
func (s *Store) Latest(scope, address string) (Key, error) {
	keys, err := s.Recent(scope, address)
	if err != nil {
		return Key{}, err
	}
	return keys[0], nil
}

// parseLatest returns at least one key if it returns no error.
func parseLatest(b []byte) ([]Key, error) {
	lines := strings.Fields(string(b))
	if len(lines) == 0 {
		return nil, errors.New("there is none in its file")
	}
	keys := make([]Key, min(len(lines), maxRecent))
	for i := range keys {
		var err error
		if keys[i], err = ParseKey(lines[i]); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func latestPath(scope, address string) string {
	return hashed("latest", DigestOf([]byte(scope+"\x00"+address)).Hex())
}

func hashed(dir, hex string) string { return path.Join(dir, hex[:2], hex) }
