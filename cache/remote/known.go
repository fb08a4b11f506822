package remote

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"

	"bottlebuild/cache"
)

// known is what is known of a repository: records, which never change, and when
// a key had none. The file of it, and the snapshot index in the registry, are
// this: "bottlebuild-records 1\n" and, in zstd, the number of records, each as
// key, partial key, whether the index has it (1 or 0), payload and signatures;
// the number of misses, each as key
// and Unix time; and the digest of the snapshot index that was taken in last.
// Numbers are unsigned varints, texts stand behind their length.
type known struct {
	records map[cache.Key]knownRecord
	misses  map[cache.Key]int64 // Unix time
	index   cache.Digest
}

type knownRecord struct {
	*envelope
	partial cache.Key // as the payload says; zero: none
	indexed bool      // the snapshot index that was taken in last has it
}

func newKnown() *known {
	return &known{records: map[cache.Key]knownRecord{}, misses: map[cache.Key]int64{}}
}

const knownMagic = "bottlebuild-records 1\n"

// Bounds of what is kept: records in a file and in an index, and bytes after
// decompression.
const (
	maxKnown      = 50_000
	maxIndexed    = 20_000
	maxKnownBytes = 256 << 20
)

// missAge is for how long a plan takes a key that had no record to have none.
const missAge = 60 * time.Second

func (k *known) encode() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(knownMagic)
	z, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	w := knownWriter{z, make([]byte, 0, binary.MaxVarintLen64)}
	w.number(uint64(len(k.records)))
	for _, key := range slices.SortedFunc(maps.Keys(k.records), compareKeys) {
		r := k.records[key]
		w.bytes(key[:])
		w.bytes(r.partial[:])
		if r.indexed {
			w.number(1)
		} else {
			w.number(0)
		}
		w.text(r.payload)
		w.number(uint64(len(r.signatures)))
		for _, s := range r.signatures {
			w.text([]byte(s.KeyID))
			w.text([]byte(s.Sig))
		}
	}
	w.number(uint64(len(k.misses)))
	for _, key := range slices.SortedFunc(maps.Keys(k.misses), compareKeys) {
		w.bytes(key[:])
		w.number(uint64(k.misses[key]))
	}
	w.bytes(k.index[:])
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func compareKeys(a, b cache.Key) int { return bytes.Compare(a[:], b[:]) }

// knownWriter writes to a writer into memory, which does not fail.
type knownWriter struct {
	w   io.Writer
	buf []byte
}

func (w knownWriter) bytes(b []byte)  { _, _ = w.w.Write(b) }
func (w knownWriter) number(n uint64) { w.bytes(binary.AppendUvarint(w.buf, n)) }
func (w knownWriter) text(b []byte)   { w.number(uint64(len(b))); w.bytes(b) }

var errKnown = errors.New("it is no list of records")

// decodeKnown reads what encode wrote, anybody's: it is bounded, and nothing in
// it is believed before its signature was checked.
func decodeKnown(b []byte) (*known, error) {
	rest, ok := bytes.CutPrefix(b, []byte(knownMagic))
	if !ok {
		return nil, errKnown
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(maxKnownBytes), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	plain, err := z.DecodeAll(rest, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errKnown, err)
	}
	r := knownReader{rest: plain}
	k := newKnown()
	for range r.count() {
		var key cache.Key
		rec := knownRecord{envelope: &envelope{}}
		r.key(&key)
		r.key(&rec.partial)
		rec.indexed = r.number() == 1
		rec.payload = r.text()
		for range min(r.count(), maxSignatures) {
			rec.signatures = append(rec.signatures, dsse.Signature{KeyID: string(r.text()), Sig: string(r.text())})
		}
		k.records[key] = rec
	}
	for range r.count() {
		var key cache.Key
		r.key(&key)
		k.misses[key] = int64(r.number())
	}
	r.key((*cache.Key)(&k.index))
	if r.bad || len(r.rest) > 0 {
		return nil, errKnown
	}
	return k, nil
}

type knownReader struct {
	rest []byte
	bad  bool
}

func (r *knownReader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

func (r *knownReader) key(k *cache.Key) { copy(k[:], r.take(uint64(len(k)))) }
func (r *knownReader) text() []byte     { return r.take(r.number()) }

func (r *knownReader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.bad, r.rest = true, nil
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count is a number of things that take at least a byte each.
func (r *knownReader) count() int {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return 0
	}
	return int(n)
}

// merge takes over records that k lacks, and forgets the misses that they were.
func (k *known) merge(other *known) {
	for key, r := range other.records {
		if _, ok := k.records[key]; !ok {
			k.records[key] = r
			delete(k.misses, key)
		}
	}
}

// takeIndex merges the snapshot index and notes what is in it. A record that the
// last one had and this one lacks may have been pruned: the registry is asked for it
// when it is needed.
func (k *known) takeIndex(index *known) {
	k.merge(index)
	for key, rec := range k.records {
		_, has := index.records[key]
		if rec.indexed && !has {
			delete(k.records, key)
			continue
		}
		rec.indexed = has
		k.records[key] = rec
	}
}

// trim drops misses that are too old to count, and records over the most that
// there may be: those that keep does not name go first.
func (k *known) trim(now time.Time, keep map[cache.Key]bool, most int) {
	maps.DeleteFunc(k.misses, func(_ cache.Key, at int64) bool { return now.Sub(time.Unix(at, 0)) > missAge })
	over := len(k.records) - most
	if over <= 0 {
		return
	}
	keys := slices.SortedFunc(maps.Keys(k.records), func(a, b cache.Key) int {
		return cmp.Or(cmp.Compare(score(keep, a), score(keep, b)), compareKeys(a, b))
	})
	for _, key := range keys[:over] {
		delete(k.records, key)
	}
}

func score(keep map[cache.Key]bool, k cache.Key) int {
	if keep[k] {
		return 1
	}
	return 0
}
