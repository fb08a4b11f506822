package cache

import (
	"errors"
	"fmt"
	"io/fs"
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

func statPath(dir string) string { return path.Join("stat", DigestOf([]byte(dir)).Hex()) }

// ReadStatTable returns the table of the files under dir, an absolute path. It
// is empty where there is none, or where it is damaged or cannot be read: all
// that costs is time.
func (s *Store) ReadStatTable(dir string) *StatTable {
	t := NewStatTable(dir)
	f, err := openRead(s.root, statPath(dir))
	if err != nil {
		return t
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil || !fi.Mode().IsRegular() || fi.Size() > maxStatFile {
		return t
	}
	t.stored = true
	if t.decode(f, fi.Size()) != nil {
		t.records = map[string]*StatRecord{}
	}
	if now := time.Now(); s.view == nil && now.Sub(fi.ModTime()) > 24*time.Hour {
		s.root.Chtimes(statPath(dir), now, now) // for PruneStats; if it fails the table goes early
	}
	return t
}

// WriteStatTable publishes the table if it has changed. Any number of processes
// may write tables of one directory: the last one stays, and whatever each of
// them holds is true. The file is not synced, since its checksum tells damage.
// A table of a few small files is not written, as reading them is faster, and
// neither is one to a store that is only looked at.
func (s *Store) WriteStatTable(t *StatTable) error {
	if s.view != nil || !t.changed || !t.stored && !t.worthwhile() {
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
