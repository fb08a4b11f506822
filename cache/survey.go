package cache

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// survey is what is in the store and who needs it, as it was read while others
// went on writing.
type survey struct {
	blobs   map[Digest]*blobState
	entries []*entryState
	damaged []string // paths of files that are no entries

	s     *Store
	named map[Digest][]*blobState // see mentions
}

type blobState struct {
	digest Digest
	size   int64
	used   time.Time
	refs   int  // of whole entries and pins
	pinned bool // by something that outlives processes
	gone   bool
}

type entryState struct {
	key           Key
	kind, address string
	size          int64 // of the entry's own file
	bytes         int64 // of the output
	seconds       float64
	used, created time.Time
	whole         bool // all blobs are there
	output        []*blobState
	mentioned     []*blobState
}

// maxMentioned bounds the blobs that are kept because a recipe names them, in
// bytes: listings of directories, manifests and configs. What is larger is the
// output of work whose own entry keeps it.
const maxMentioned = 64 << 20

// look reads the whole store. It takes no lock.
func (s *Store) look(ctx context.Context) (*survey, error) {
	v := &survey{s: s, blobs: map[Digest]*blobState{}, named: map[Digest][]*blobState{}}
	for fi, err := range eachInfo(s.root, "blobs/sha256") {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("look through blobs: %w", err)
		}
		if d, err := ParseDigest(digestPrefix + fi.Name()); err == nil {
			v.blobs[d] = &blobState{digest: d, size: fi.Size(), used: fi.ModTime()}
		}
	}
	for fi, err := range eachHashed(s.root, "entries") {
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			return nil, fmt.Errorf("look through entries: %w", err)
		}
		k, err := ParseKey(digestPrefix + fi.Name())
		if err == nil {
			err = v.add(k, fi)
		}
		if err != nil {
			return nil, fmt.Errorf("look through entries: %w", err)
		}
	}
	pins, err := s.Pins(false)
	if err != nil {
		return nil, err
	}
	for _, p := range pins {
		for _, b := range p.Blobs {
			if st := v.blob(b.Digest); st != nil {
				st.refs++
				st.pinned = true
			}
		}
	}
	return v, nil
}

// add reads one entry.
func (v *survey) add(k Key, fi fs.FileInfo) error {
	b, _, err := v.s.readEntry(k)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	e, err := decodeEntry(b, k)
	if err != nil {
		v.damaged = append(v.damaged, entryPath(k))
		return nil
	}
	st := &entryState{
		key: k, kind: e.Kind, address: e.Address, size: fi.Size(), bytes: e.Bytes, seconds: e.Seconds,
		used: fi.ModTime(), created: e.Created, whole: true,
	}
	for _, b := range e.Output.Blobs {
		blob := v.blob(b.Digest)
		if blob == nil || blob.size != b.Size {
			st.whole = false
			continue
		}
		st.output = append(st.output, blob)
	}
	st.mentioned = v.mentions(e.Recipe)
	if st.whole {
		for _, b := range st.all() {
			b.refs++
		}
	}
	v.entries = append(v.entries, st)
	return nil
}

// all returns what the entry keeps.
func (e *entryState) all() []*blobState {
	return append(e.output[:len(e.output):len(e.output)], e.mentioned...)
}

// pinned reports whether something that outlives processes needs the output.
func (e *entryState) pinned() bool {
	for _, b := range e.output {
		if !b.pinned {
			return false
		}
	}
	return len(e.output) > 0
}

// blob returns what is known of a blob, nil if it is not there. One that was
// written since the blobs were read is found too.
func (v *survey) blob(d Digest) *blobState {
	if st := v.blobs[d]; st != nil {
		return st
	}
	fi, err := lstat(v.s.blobs, d.Hex())
	if err != nil {
		return nil
	}
	st := &blobState{digest: d, size: fi.Size(), used: fi.ModTime()}
	v.blobs[d] = st
	return st
}

// mentions returns the blobs that a recipe names by digest, so far as they are
// there and small, and what those that are manifests name but for layers.
func (v *survey) mentions(recipe string) (found []*blobState) {
	for line := range strings.Lines(recipe) {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] != byte(TypeDigest) {
			continue
		}
		if d, err := ParseDigest(strings.TrimSpace(line[i:])); err == nil {
			found = append(found, v.closure(d, 0)...)
		}
	}
	return found
}

// What is read of a manifest at most, in bytes, and how deep indexes may nest.
const (
	maxNamedManifest = 4 << 20
	maxNesting       = 4
)

func (v *survey) closure(d Digest, depth int) []*blobState {
	if found, ok := v.named[d]; ok {
		return found
	}
	st := v.blobs[d]
	if st == nil || st.size > maxMentioned || depth > maxNesting {
		return nil
	}
	found := []*blobState{st}
	if st.size <= maxNamedManifest {
		for _, d := range v.manifestNames(d) {
			found = append(found, v.closure(d, depth+1)...)
		}
	}
	v.named[d] = found
	return found
}

// manifestNames returns what a manifest or an index names, but for layers.
func (v *survey) manifestNames(d Digest) (names []Digest) {
	b, err := readFile(v.s.blobs, d.Hex(), maxNamedManifest)
	if err != nil || !bytes.HasPrefix(bytes.TrimSpace(b), []byte("{")) {
		return nil
	}
	var m struct {
		Config    *struct{ Digest Digest }
		Manifests []struct{ Digest Digest }
	}
	if json.Unmarshal(b, &m) != nil {
		return nil
	}
	if m.Config != nil {
		names = append(names, m.Config.Digest)
	}
	for _, c := range m.Manifests {
		names = append(names, c.Digest)
	}
	return names
}
