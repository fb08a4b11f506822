package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"time"
)

// FileStamp is what the kernel says of a file and what changes whenever its
// content, mode or extended attributes do.
type FileStamp struct {
	Size         int64 // bytes
	MTime, CTime int64 // nanoseconds since 1970
	Dev, Ino     uint64
	Mode         uint32 // st_mode, with the type
}

// racyMargin is how old a stamp must be to be trusted. Within it a file can be
// written to once more and keep its times: clocks of file systems tick in steps
// of up to two seconds. Git's index has the same rule.
const racyMargin = 2 * time.Second

// Settled reports whether the stamp is old enough, at the time a scan started,
// that any later change of the file gives it another stamp.
func (f FileStamp) Settled(start time.Time) bool {
	limit := start.Add(-racyMargin).UnixNano()
	return f.MTime < limit && f.CTime < limit
}

// StatRecord is what was found in a file that had this stamp.
type StatRecord struct {
	FileStamp
	Digest Digest // of the content
	Extra  string // what else the stamp vouches for, in the caller's own form

	seen uint32 // last day of use, since 1970
}

// StatTable remembers the digests of the files under one directory, so that a
// file which has not changed is not read again. Lookups of different paths may
// run at once; everything else needs the table to itself.
type StatTable struct {
	dir     string
	records map[string]*StatRecord
	today   uint32
	changed bool
	stored  bool // a file of it is in the store
}

const (
	maxStatRecords = 1 << 20
	maxStatFile    = 1 << 30 // bytes
	maxStatPath    = 1 << 16 // bytes; of Extra too, 16 times as much
	// A record that no run has used for so many days is dropped.
	statDays = 30
	// Reading so few and so small files is faster than opening a table.
	minStatRecords = 32
	minStatBytes   = 256 << 10
)

// NewStatTable returns an empty table of the files under dir.
func NewStatTable(dir string) *StatTable {
	return &StatTable{dir: dir, records: map[string]*StatRecord{}, today: uint32(time.Now().Unix() / 86400)}
}

// Len returns the number of records.
func (t *StatTable) Len() int { return len(t.records) }

// Lookup returns the record of path if the file still has the record's stamp,
// else nil. The record must not be changed.
func (t *StatTable) Lookup(path string, stamp FileStamp) *StatRecord {
	r := t.records[path]
	if r == nil || r.FileStamp != stamp {
		return nil
	}
	if r.seen != t.today {
		r.seen = t.today
	}
	return r
}

// Put remembers r, which must be of a [FileStamp.Settled] stamp. A table that is
// full forgets it at once.
func (t *StatTable) Put(path string, r *StatRecord) {
	if t.records[path] == nil && len(t.records) >= maxStatRecords || len(path) > maxStatPath || len(r.Extra) > 16*maxStatPath {
		return
	}
	r.seen = t.today
	t.records[path] = r
	t.changed = true
}

// Retain drops every record whose path keep does not hold: after a scan that
// saw all of the directory the others are of files that are gone.
func (t *StatTable) Retain(keep func(path string) bool) {
	for p := range t.records {
		if !keep(p) {
			delete(t.records, p)
			t.changed = true
		}
	}
}

// A table's file is the line below; the CRC-32C of the rest, 4 bytes; the
// directory, behind its length; the number of records; and the records, as
// encode writes them. Numbers are varints, or little-endian if of fixed length.
const statMagic = "bottlebuild-stat 1\n"

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func statPath(dir string) string { return path.Join("stat", DigestOf([]byte(dir)).Hex()) }

// ReadStatTable returns the table of the files under dir, an absolute path. It
// is empty where there is none, or where it is damaged or cannot be read: all
// that costs is time.
func (s *Store) ReadStatTable(dir string) *StatTable {
	t := NewStatTable(dir)
	f, err := s.root.OpenFile(statPath(dir), os.O_RDONLY|openNoFollow, 0)
	if err != nil {
		return t
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxStatFile {
		return t
	}
	t.stored = true
	b := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return t
	}
	if t.decode(b) != nil {
		t.records = map[string]*StatRecord{}
	}
	if now := time.Now(); now.Sub(fi.ModTime()) > 24*time.Hour {
		s.root.Chtimes(statPath(dir), now, now) // for PruneStats; if it fails the table goes early
	}
	return t
}

// WriteStatTable publishes the table if it has changed. Any number of processes
// may write tables of one directory: the last one stays, and whatever each of
// them holds is true. The file is not synced, since its checksum tells damage.
// A table of a few small files is not written, as reading them is faster.
func (s *Store) WriteStatTable(t *StatTable) error {
	if !t.changed || !t.stored && !t.worthwhile() {
		return nil
	}
	err := s.writeStat(statPath(t.dir), t.encode())
	if err != nil {
		return fmt.Errorf("write stat table of %s: %w", t.dir, err)
	}
	t.changed, t.stored = false, true
	return nil
}

func (t *StatTable) worthwhile() bool {
	if len(t.records) > minStatRecords {
		return true
	}
	var bytes int64
	for _, r := range t.records {
		bytes += r.Size
	}
	return bytes > minStatBytes
}

func (s *Store) writeStat(name string, b []byte) error {
	tmp, err := s.createTemp()
	if err != nil {
		return err
	}
	defer tmp.discard()
	_, err = tmp.file.Write(b)
	err = errors.Join(err, tmp.file.Close())
	tmp.file = nil
	if err != nil {
		return err
	}
	err = s.root.Rename(tmp.name, name)
	if errors.Is(err, fs.ErrNotExist) { // the first table of this store
		if err = s.root.MkdirAll(path.Dir(name), 0o700); err == nil {
			err = s.root.Rename(tmp.name, name)
		}
	}
	if err == nil {
		tmp.name = ""
	}
	return err
}

// PruneStats removes the tables that were last used before t, and returns how
// many files and bytes that freed. Use is known to the day.
func (s *Store) PruneStats(t time.Time) (files int, bytes int64, err error) {
	entries, err := fs.ReadDir(s.root.FS(), "stat")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, fmt.Errorf("prune stat tables: %w", err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return files, bytes, fmt.Errorf("prune stat tables: %w", err)
		}
		if !fi.ModTime().Before(t) {
			continue
		}
		if err := s.root.Remove(path.Join("stat", e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return files, bytes, fmt.Errorf("prune stat tables: %w", err)
		}
		files++
		bytes += fi.Size()
	}
	return files, bytes, nil
}

func (t *StatTable) encode() []byte {
	b := make([]byte, 0, len(t.records)*160+1024)
	b = append(b, statMagic...)
	b = append(b, 0, 0, 0, 0)
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	text(t.dir)
	for p, r := range t.records {
		if r.seen+statDays < t.today {
			continue
		}
		text(p)
		b = binary.AppendUvarint(b, uint64(r.Size))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.MTime))
		b = binary.LittleEndian.AppendUint64(b, uint64(r.CTime))
		b = binary.AppendUvarint(b, r.Dev)
		b = binary.AppendUvarint(b, r.Ino)
		b = binary.AppendUvarint(b, uint64(r.Mode))
		b = binary.AppendUvarint(b, uint64(r.seen))
		b = append(b, r.Digest[:]...)
		text(r.Extra)
	}
	sum := crc32.Checksum(b[len(statMagic)+4:], castagnoli)
	binary.LittleEndian.PutUint32(b[len(statMagic):], sum)
	return b
}

// smallestRecord is the least number of bytes that a record takes.
const smallestRecord = 1 + 1 + 8 + 8 + 4 + len(Digest{}) + 1

func (t *StatTable) decode(b []byte) error {
	if len(b) < len(statMagic)+4 || string(b[:len(statMagic)]) != statMagic {
		return fmt.Errorf("%w: it does not start as a stat table does", ErrDamaged)
	}
	sum, b := binary.LittleEndian.Uint32(b[len(statMagic):]), b[len(statMagic)+4:]
	if crc32.Checksum(b, castagnoli) != sum {
		return fmt.Errorf("%w: its checksum does not match", ErrDamaged)
	}
	d := &statDecoder{rest: string(b)}
	if dir := d.text(maxStatPath); dir != t.dir {
		return fmt.Errorf("%w: it is of directory %.200q", ErrDamaged, dir)
	}
	// One array for all, sized as if records were short, is one allocation.
	estimate := min(len(d.rest)/smallestRecord, maxStatRecords)
	t.records = make(map[string]*StatRecord, estimate/2)
	records := make([]StatRecord, 0, estimate/2)
	for len(d.rest) > 0 && !d.bad {
		records = append(records, StatRecord{})
		r := &records[len(records)-1]
		name := d.text(maxStatPath)
		r.Size = int64(d.number(math.MaxInt64))
		r.MTime = d.time()
		r.CTime = d.time()
		r.Dev = d.number(math.MaxUint64)
		r.Ino = d.number(math.MaxUint64)
		r.Mode = uint32(d.number(math.MaxUint32))
		r.seen = uint32(d.number(math.MaxUint32))
		copy(r.Digest[:], d.take(len(r.Digest)))
		r.Extra = d.text(16 * maxStatPath)
		t.records[name] = r
		if len(t.records) > maxStatRecords {
			d.bad = true
		}
	}
	if d.bad {
		return fmt.Errorf("%w: a record is not whole", ErrDamaged)
	}
	return nil
}

// statDecoder takes values off the front of rest. After the first that is not
// there, bad is set and every value is zero.
type statDecoder struct {
	rest string
	bad  bool
}

func (d *statDecoder) take(n int) string {
	if d.bad || n > len(d.rest) {
		d.bad = true
		return ""
	}
	s := d.rest[:n]
	d.rest = d.rest[n:]
	return s
}

func (d *statDecoder) text(limit int) string { return d.take(int(d.number(uint64(limit)))) }

func (d *statDecoder) time() int64 {
	var b [8]byte
	copy(b[:], d.take(len(b)))
	return int64(binary.LittleEndian.Uint64(b[:]))
}

func (d *statDecoder) number(limit uint64) uint64 {
	var n uint64
	for shift := 0; shift < 64; shift += 7 {
		c := d.take(1)
		if d.bad {
			return 0
		}
		n |= uint64(c[0]&0x7f) << shift
		if c[0] < 0x80 {
			if n > limit {
				d.bad = true
				return 0
			}
			return n
		}
	}
	d.bad = true
	return 0
}
