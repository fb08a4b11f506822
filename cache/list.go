package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// EntryInfo is an entry as lists show it.
type EntryInfo struct {
	Key     Key       `json:"key"`
	Kind    string    `json:"kind"`
	Address string    `json:"address,omitempty"` // of the node that did the work
	Bytes   int64     `json:"bytes"`             // size of the output
	Seconds float64   `json:"seconds"`           // how long the work took
	Created time.Time `json:"created"`
	Used    time.Time `json:"used"` // last, to the hour
	// Evicted tells that blobs are gone: the entry only explains the next miss.
	Evicted bool `json:"evicted,omitempty"`
	// Pinned tells that a machine needs the output.
	Pinned bool `json:"pinned,omitempty"`
}

// List returns all entries, those that were used last first.
func (s *Store) List(ctx context.Context) ([]EntryInfo, error) {
	v, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]EntryInfo, len(v.entries))
	for i, e := range v.entries {
		list[i] = EntryInfo{e.key, e.kind, e.address, e.bytes, e.seconds, e.created, e.used, !e.whole, e.pinned()}
	}
	slices.SortFunc(list, func(a, b EntryInfo) int {
		if c := b.Used.Compare(a.Used); c != 0 {
			return c
		}
		return slices.Compare(a.Key[:], b.Key[:])
	})
	return list, nil
}

// Usage is what a store takes on disk, in bytes.
type Usage struct {
	Kinds        map[string]KindUsage `json:"kinds"` // by kind of entry
	Entries      int                  `json:"entries"`
	EntryBytes   int64                `json:"entry_bytes"` // of the entries' own files
	Blobs        int                  `json:"blobs"`
	BlobBytes    int64                `json:"blob_bytes"`
	Unreferenced int64                `json:"unreferenced_bytes"` // of blobs that no entry needs
	Evicted      int                  `json:"evicted"`            // entries whose blobs are gone
	Damaged      int                  `json:"damaged"`            // files that are no entries
	Pinned       int64                `json:"pinned_bytes"`       // of blobs that machines need
	Leases       int                  `json:"leases"`             // processes that use the store now
	Quarantine   int64                `json:"quarantine_bytes"`
	StatTables   int64                `json:"stat_table_bytes"`
	Temporary    int64                `json:"temporary_bytes"` // of files that are being written, or were left behind
}

// KindUsage is what the entries of one kind take.
type KindUsage struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // of their blobs, each counted once; other kinds may share them
}

// Usage measures the store. Others may change it meanwhile.
func (s *Store) Usage(ctx context.Context) (*Usage, error) {
	v, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	u := &Usage{Kinds: map[string]KindUsage{}, Entries: len(v.entries), Blobs: len(v.blobs), Damaged: len(v.damaged)}
	counted := map[string]map[*blobState]bool{}
	for _, e := range v.entries {
		k := u.Kinds[e.kind]
		k.Entries++
		seen := counted[e.kind]
		if seen == nil {
			seen = map[*blobState]bool{}
			counted[e.kind] = seen
		}
		for _, b := range e.output {
			if !seen[b] {
				seen[b] = true
				k.Bytes += b.size
			}
		}
		u.Kinds[e.kind] = k
		u.EntryBytes += e.size
		if !e.whole {
			u.Evicted++
		}
	}
	for _, b := range v.blobs {
		u.BlobBytes += b.size
		if b.refs == 0 {
			u.Unreferenced += b.size
		}
		if b.pinned {
			u.Pinned += b.size
		}
	}
	leases, err := s.Leases()
	if err != nil {
		return nil, err
	}
	u.Leases = len(leases)
	for dir, n := range map[string]*int64{"quarantine": &u.Quarantine, "stat": &u.StatTables, "tmp": &u.Temporary} {
		for fi, err := range eachInfo(s.root, dir) {
			if err != nil {
				return nil, fmt.Errorf("measure %s: %w", dir, err)
			}
			*n += fi.Size()
		}
	}
	return u, nil
}

// ErrAmbiguous is wrapped by the error of a prefix that several keys have.
var ErrAmbiguous = errors.New("several keys start so")

// Find returns the key of the entry whose key starts with the hex digits, at
// least four of them, behind "sha256:" or not. The error wraps [ErrMiss] or
// [ErrAmbiguous].
func (s *Store) Find(prefix string) (Key, error) {
	digits := strings.TrimPrefix(prefix, digestPrefix)
	if len(digits) < 4 || strings.Trim(digits, "0123456789abcdef") != "" {
		return Key{}, fmt.Errorf("find %.80q: give at least four lower-case hex digits of a key", prefix)
	}
	var found []Key
	for e, err := range eachName(s.root, "entries/"+digits[:2]) {
		if err != nil {
			return Key{}, fmt.Errorf("find %s: %w", prefix, err)
		}
		if k, err := ParseKey(digestPrefix + e.Name()); err == nil && strings.HasPrefix(e.Name(), digits) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 0:
		return Key{}, fmt.Errorf("find %.80s: %w", prefix, ErrMiss)
	case 1:
		return found[0], nil
	}
	return Key{}, fmt.Errorf("find %s: %w; give more digits", prefix, ErrAmbiguous)
}

// Inspect returns the entry of k also where blobs of it are gone; missing are
// these. It counts as no use. The error wraps [ErrMiss] if there is no whole entry.
func (s *Store) Inspect(k Key) (e *Entry, missing []Blob, err error) {
	b, _, err := s.readEntry(k)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("inspect %s: %w", k, ErrMiss)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("inspect %s: %w", k, err)
	}
	if e, err = decodeEntry(b, k); err != nil {
		return nil, nil, fmt.Errorf("inspect %s: %w: %w: %w", k, ErrMiss, ErrDamaged, err)
	}
	for _, b := range e.Output.Blobs {
		if fi, err := lstat(s.blobs, b.Digest.Hex()); err != nil || fi.Size() != b.Size {
			missing = append(missing, b)
		}
	}
	return e, missing, nil
}
