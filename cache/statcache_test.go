package cache

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func statStore(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// bigTable returns a table that is worth writing.
func bigTable(dir string) *StatTable {
	t := NewStatTable(dir)
	for i := range minStatRecords + 1 {
		t.Put(fmt.Sprint("file", i), &StatRecord{FileStamp: FileStamp{Size: int64(i), MTime: 1, CTime: 2, Dev: 3, Ino: uint64(i), Mode: 0o100644}})
	}
	return t
}

func TestFileStampSettled(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(sec int64) int64 { return time.Unix(sec, 0).UnixNano() }
	for _, c := range []struct {
		mtime, ctime int64
		want         bool
	}{
		{at(997), at(997), true},
		{at(998) - 1, at(998) - 1, true},
		{at(998), at(10), false},
		{at(10), at(998), false},
		{at(1000), at(1000), false},
		{at(10), at(2000), false},
		{at(2000), at(10), false},
	} {
		if got := (FileStamp{MTime: c.mtime, CTime: c.ctime}).Settled(start); got != c.want {
			t.Errorf("mtime %d, ctime %d: settled is %v", c.mtime, c.ctime, got)
		}
	}
}

func TestStatTableLookup(t *testing.T) {
	stamp := FileStamp{Size: 1, MTime: 2, CTime: 3, Dev: 4, Ino: 5, Mode: 6}
	table := NewStatTable("/d")
	table.Put("f", &StatRecord{FileStamp: stamp, Digest: DigestOf([]byte("f"))})
	if table.Lookup("f", stamp) == nil {
		t.Error("a known file is not found")
	}
	if table.Lookup("g", stamp) != nil {
		t.Error("an unknown file is found")
	}
	for _, change := range []func(*FileStamp){
		func(s *FileStamp) { s.Size++ }, func(s *FileStamp) { s.MTime++ }, func(s *FileStamp) { s.CTime++ },
		func(s *FileStamp) { s.Dev++ }, func(s *FileStamp) { s.Ino++ }, func(s *FileStamp) { s.Mode++ },
	} {
		other := stamp
		change(&other)
		if table.Lookup("f", other) != nil {
			t.Errorf("a file with stamp %+v is taken for one with %+v", other, stamp)
		}
	}
}

func TestStatTableRoundTrip(t *testing.T) {
	s := statStore(t)
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		dir := fmt.Sprint("/dir/", n)
		want := bigTable(dir)
		for range rapid.IntRange(0, 10).Draw(t, "records") {
			want.Put(rapid.String().Draw(t, "path"), &StatRecord{
				FileStamp: FileStamp{
					Size: rapid.Int64Min(0).Draw(t, "size"), MTime: rapid.Int64().Draw(t, "mtime"), CTime: rapid.Int64().Draw(t, "ctime"),
					Dev: rapid.Uint64().Draw(t, "dev"), Ino: rapid.Uint64().Draw(t, "ino"), Mode: rapid.Uint32().Draw(t, "mode"),
				},
				Digest: DigestOf([]byte(rapid.String().Draw(t, "content"))),
				Extra:  rapid.String().Draw(t, "extra"),
			})
		}
		if err := s.WriteStatTable(want); err != nil {
			t.Fatal(err)
		}
		got := s.ReadStatTable(dir)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(StatTable{}, StatRecord{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("table (-written +read):\n%s", diff)
		}
	})
}

func TestStatTableDamaged(t *testing.T) {
	s := statStore(t)
	if err := s.WriteStatTable(bigTable("/d")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(s.Dir(), statPath("/d"))
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(good)
	flipped[len(flipped)/2] ^= 1
	other, err := os.ReadFile(filepath.Join(s.Dir(), "oci-layout"))
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"empty": nil, "cut": good[:len(good)-1], "longer": append(bytes.Clone(good), 0), "flipped": flipped, "header only": good[:len(statMagic)+4], "other": other,
	} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		table := s.ReadStatTable("/d")
		if table.Len() != 0 {
			t.Errorf("%s: a damaged table has %d records", name, table.Len())
		}
		table.Put("f", &StatRecord{})
		if err := s.WriteStatTable(table); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := s.ReadStatTable("/d").Len(); n != 1 {
			t.Errorf("%s: once it is written anew it has %d records, not 1", name, n)
		}
	}
	// A table of another directory, as a copied or moved file would be.
	if err := os.WriteFile(filepath.Join(s.Dir(), statPath("/e")), good, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := s.ReadStatTable("/e").Len(); n != 0 {
		t.Errorf("the table of another directory was taken: %d records", n)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(s.Dir(), statPath("/e")), file); err != nil {
		t.Fatal(err)
	}
	if n := s.ReadStatTable("/d").Len(); n != 0 {
		t.Errorf("a symbolic link was followed: %d records", n)
	}
}

func TestStatTableWritten(t *testing.T) {
	s := statStore(t)
	exists := func(dir string) bool {
		_, err := os.Stat(filepath.Join(s.Dir(), statPath(dir)))
		return err == nil
	}
	small := NewStatTable("/small")
	small.Put("f", &StatRecord{FileStamp: FileStamp{Size: 10}})
	if err := s.WriteStatTable(small); err != nil || exists("/small") {
		t.Errorf("a small table was written, or: %v", err)
	}
	small.Put("g", &StatRecord{FileStamp: FileStamp{Size: minStatBytes}})
	if err := s.WriteStatTable(small); err != nil || !exists("/small") {
		t.Errorf("the table of a large file was not written: %v", err)
	}
	if err := os.Remove(filepath.Join(s.Dir(), statPath("/small"))); err != nil {
		t.Fatal(err)
	}
	if err := s.WriteStatTable(small); err != nil || exists("/small") {
		t.Errorf("a table that has not changed was written, or: %v", err)
	}
	small.Retain(func(p string) bool { return p == "g" })
	if err := s.WriteStatTable(small); err != nil || s.ReadStatTable("/small").Len() != 1 {
		t.Errorf("a table that has lost a record was not written: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp")); err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v, %v", left, err)
	}
}

func TestStatTableBounds(t *testing.T) {
	table := NewStatTable("/d")
	table.Put(strings.Repeat("x", maxStatPath+1), &StatRecord{})
	table.Put("x", &StatRecord{Extra: strings.Repeat("x", 16*maxStatPath+1)})
	if table.Len() != 0 {
		t.Error("a record that could not be read again was taken")
	}
	s := statStore(t)
	old := bigTable("/d")
	old.records["file1"].seen -= statDays + 1
	if err := s.WriteStatTable(old); err != nil {
		t.Fatal(err)
	}
	if n := s.ReadStatTable("/d").Len(); n != old.Len()-1 {
		t.Errorf("%d of %d records are left, where one has not been used for long", n, old.Len())
	}
}

func TestPruneStats(t *testing.T) {
	s := statStore(t)
	if files, bytes, err := s.PruneStats(time.Now()); files != 0 || bytes != 0 || err != nil {
		t.Errorf("of none: %d files, %d bytes, %v", files, bytes, err)
	}
	old := time.Now().Add(-100 * 24 * time.Hour)
	for _, dir := range []string{"/unused", "/used"} {
		if err := s.WriteStatTable(bigTable(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(s.Dir(), statPath(dir)), old, old); err != nil {
			t.Fatal(err)
		}
	}
	s.ReadStatTable("/used")
	files, bytes, err := s.PruneStats(time.Now().Add(-time.Hour))
	if files != 1 || bytes == 0 || err != nil {
		t.Errorf("%d files, %d bytes, %v", files, bytes, err)
	}
	if s.ReadStatTable("/used").Len() == 0 || s.ReadStatTable("/unused").Len() != 0 {
		t.Error("the wrong table was removed")
	}
}

// FuzzStatTable reads files whose checksum is right but whose content is anything.
func FuzzStatTable(f *testing.F) {
	const head = len(statMagic) + 4
	small := NewStatTable("/d")
	small.Put("f", &StatRecord{Extra: "x"})
	f.Add(small.encode()[head:])
	f.Add([]byte("\x02/d\x00"))
	f.Add([]byte("\x02/d\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		b := append([]byte(statMagic), 0, 0, 0, 0)
		binary.LittleEndian.PutUint32(b[len(statMagic):], crc32.Checksum(body, castagnoli))
		table := NewStatTable("/d")
		b = append(b, body...)
		if err := table.decode(bytes.NewReader(b), int64(len(b))); err != nil {
			return
		}
		again, text := NewStatTable("/d"), table.encode()
		if err := again.decode(bytes.NewReader(text), int64(len(text))); err != nil || again.Len() > table.Len() {
			t.Errorf("a table that was read cannot be written and read again: %v", err)
		}
	})
}
