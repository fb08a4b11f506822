package cache

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// Blob says where in the store some bytes are, as an OCI descriptor does.
type Blob struct {
	Name      string `json:"name,omitempty"` // what the producer calls it: "manifest", "config", "layer", "sidecar"
	MediaType string `json:"mediaType,omitempty"`
	Digest    Digest `json:"digest"`
	Size      int64  `json:"size"` // bytes
}

// Output is what a node yields.
type Output struct {
	// Digest is the output's identity, which enters the keys of dependents.
	Digest Digest `json:"digest"`
	// Blobs are all the bytes in the store that the output needs to be used.
	Blobs []Blob `json:"blobs,omitempty"`
	// Bytes is the size of what the output has outside the store.
	Bytes int64 `json:"bytes,omitempty"`
	// Attrs are small facts about the output that Digest decides: "config", "ref", "path".
	Attrs map[string]string `json:"attrs,omitempty"`
}

// Blob returns the first blob of that name.
func (o Output) Blob(name string) (Blob, bool) {
	for _, b := range o.Blobs {
		if b.Name == name {
			return b, true
		}
	}
	return Blob{}, false
}

// Entry is the record of one key: what its work yielded, and how it came to be.
type Entry struct {
	Key     Key       `json:"key"`
	Kind    string    `json:"kind"`
	Action  string    `json:"action,omitempty"` // what the work was, where a kind has several: "start"
	Address string    `json:"address"`          // of the node that did the work
	Output  Output    `json:"output"`
	Created time.Time `json:"created"`
	Seconds float64   `json:"seconds"` // how long the work took
	Bytes   int64     `json:"bytes"`   // size of the output, set by Put
	// Partial is the key of the recipe less what depends on inputs; zero: the
	// node has none.
	Partial Key `json:"partial,omitzero"`
	// From is where the entry came from, if not from work on this machine: a
	// repository of a registry.
	From string `json:"from,omitempty"`
	// Statement is the signed statement by which others know the entry, if there is
	// one, in whatever form they have.
	Statement string `json:"statement,omitempty"`
	// Recipe is the text of the recipe that Key is the hash of.
	Recipe string `json:"-"`
}

// ErrMiss is what Get returns, wrapped with the reason, for a key that has no
// usable entry.
var ErrMiss = errors.New("not in the cache")

// ErrDamaged is also wrapped by such an error where an entry was there but could
// not be trusted, and where that is why it, or a blob that it needs, is gone. It has
// been moved to quarantine.
var ErrDamaged = errors.New("damaged")

// ErrUncertain is also wrapped by such an error where nobody could tell in time
// whether there is an entry elsewhere.
var ErrUncertain = errors.New("not known")

// ErrEvicted is also wrapped by such an error where the entry is whole but a
// blob that it needs is gone.
var ErrEvicted = errors.New("evicted")

// An entry's file is the line "bottlebuild-entry 1 HEX", HEX being the SHA-256
// of all that follows it; the entry as one line of JSON; and the recipe's text.
const entryMagic = "bottlebuild-entry 1 "

// maxEntry bounds what is read of an entry's file, in bytes.
const maxEntry = 16 << 20

func entryPath(k Key) string { return "entries/" + entryName(k) }

// entryName is the path of an entry in entries/.
func entryName(k Key) string {
	h := k.Hex()
	return h[:2] + "/" + h
}

func (e *Entry) encode() ([]byte, error) {
	head, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	body := string(head) + "\n" + e.Recipe
	return []byte(entryMagic + DigestOf([]byte(body)).Hex() + "\n" + body), nil
}

func decodeEntry(b []byte, k Key) (*Entry, error) {
	head, body, ok := bytes.Cut(b, []byte("\n"))
	sum, magic := bytes.CutPrefix(head, []byte(entryMagic))
	if !ok || !magic {
		return nil, errors.New("it does not start as an entry does")
	}
	if !DigestOf(body).is(sum) {
		return nil, errors.New("its checksum does not match")
	}
	line, recipe, ok := bytes.Cut(body, []byte("\n"))
	if !ok {
		return nil, errors.New("it has no recipe")
	}
	e := &Entry{Recipe: string(recipe)}
	if err := json.Unmarshal(line, e); err != nil {
		return nil, err
	}
	if e.Key != k {
		return nil, fmt.Errorf("it is the entry of %s", e.Key)
	}
	return e, nil
}

// Get returns the entry of key k. The entry is whole and each of its blobs is
// there with the right size; their content is verified when it is read. The
// error wraps [ErrMiss] where there is no such entry, and says why; any other
// error is a failure of the disk. Under [Store.Hold] a hit counts as use.
func (s *Store) Get(k Key) (*Entry, error) {
	b, used, err := s.readEntry(k)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("get %s: %w", k, s.missing(k))
	}
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", k, err)
	}
	e, err := decodeEntry(b, k)
	if err != nil {
		if qerr := s.quarantine(entryPath(k)); qerr != nil {
			return nil, qerr
		}
		return nil, fmt.Errorf("get %s: %w: %w: %w", k, ErrMiss, ErrDamaged, err)
	}
	for _, b := range e.Output.Blobs {
		if err := s.HasBlob(b.Digest, b.Size); err != nil {
			if !errors.Is(err, ErrMiss) {
				return nil, err
			}
			if slices.ContainsFunc(e.Output.Blobs, s.lostDamaged) {
				return nil, fmt.Errorf("get %s: %w: %w: %w", k, ErrEvicted, ErrDamaged, err)
			}
			return nil, fmt.Errorf("get %s: %w: %w", k, ErrEvicted, err)
		}
	}
	switch err := s.use(s.entries, entryName(k), used); {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("get %s: %w", k, ErrMiss)
	case err != nil:
		return nil, fmt.Errorf("get %s: %w", k, err)
	}
	return e, nil
}

// missing is the error for a key whose entry is not there.
func (s *Store) missing(k Key) error {
	if s.foundDamaged(entryPath(k)) {
		return fmt.Errorf("%w: it was %w", ErrMiss, ErrDamaged)
	}
	return ErrMiss
}

// lostDamaged reports whether a blob is not there because it was damaged.
func (s *Store) lostDamaged(b Blob) bool { return s.foundDamaged(blobPath(b.Digest)) }

// Recipe returns the text of the recipe that k is the hash of, also where the
// entry's blobs are gone. The error wraps [ErrMiss] if there is no whole entry.
func (s *Store) Recipe(k Key) (string, error) {
	b, _, err := s.readEntry(k)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("recipe of %s: %w", k, s.missing(k))
	}
	if err != nil {
		return "", fmt.Errorf("recipe of %s: %w", k, err)
	}
	e, err := decodeEntry(b, k)
	if err != nil {
		return "", fmt.Errorf("recipe of %s: %w: %w: %w", k, ErrMiss, ErrDamaged, err)
	}
	return e.Recipe, nil
}

// Put publishes e under e.Key. Each blob that it names must be in the store.
func (s *Store) Put(e *Entry) error {
	if err := s.stampBlobs(e.Output.Blobs); err != nil {
		return fmt.Errorf("put %s: %w", e.Key, err)
	}
	var total int64
	for _, b := range e.Output.Blobs {
		total += b.Size
	}
	e.Bytes = total + e.Output.Bytes
	b, err := e.encode()
	if err != nil {
		return fmt.Errorf("put %s: %w", e.Key, err)
	}
	return s.publish(entryPath(e.Key), b)
}

// Delete removes the entry of k, so that its work is done again; its blobs stay.
func (s *Store) Delete(k Key) error {
	if s.view != nil {
		return fmt.Errorf("delete %s: %w", k, errView)
	}
	if err := s.root.Remove(entryPath(k)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete %s: %w", k, err)
	}
	return nil
}

// readEntry returns what the entry's file holds, and when it was used last.
func (s *Store) readEntry(k Key) (b []byte, used time.Time, err error) {
	f, err := s.shards.open(s.entries, k)
	if err != nil {
		return nil, used, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, used, err
	}
	if fi.Size() > maxEntry {
		return nil, used, fmt.Errorf("read %s: it is over %d bytes", f.Name(), maxEntry)
	}
	// It was put in place whole, so this is all of it; else its checksum tells.
	b = make([]byte, fi.Size())
	n, err := io.ReadFull(f, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		err = nil
	}
	return b[:n], fi.ModTime(), err
}

// readFile reads at most limit bytes of a file of the store; a longer file is an
// error. A symbolic link is not followed.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := openRead(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readBounded(f, limit)
}

func readBounded(f *os.File, limit int64) ([]byte, error) {
	b := make([]byte, 0, usualFile)
	for {
		n, err := f.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case int64(len(b)) > limit:
			return nil, fmt.Errorf("read %s: it is over %d bytes", f.Name(), limit)
		case err == io.EOF:
			return b, nil
		case err != nil:
			return nil, err
		case len(b) == cap(b):
			b = slices.Grow(b, len(b))
		}
	}
}

// usualFile is room for most small files, so that they are read in one piece.
const usualFile = 512 // bytes

// Uncertainty says why it is uncertain, of an error that wraps [ErrUncertain],
// without what is said before that: the key, and that it is a miss.
func Uncertainty(err error) string {
	text := err.Error()
	if _, why, ok := strings.Cut(text, ErrUncertain.Error()+": "); ok {
		return why
	}
	return text
}
