package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree returns what is below dir: a line of mode, size and time by path.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err == nil {
			files[path] = fi.Mode().String() + " " + fi.ModTime().String()
			if fi.Mode().IsRegular() {
				b, err := os.ReadFile(path)
				files[path] += " " + string(b)
				return err
			}
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return files
}

func TestAViewChangesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	blob, err := s.PutBytes([]byte("blob"))
	if err != nil {
		t.Fatal(err)
	}
	broken, err := s.PutBytes([]byte("broken"))
	if err != nil {
		t.Fatal(err)
	}
	e := &Entry{Key: Key{1}, Kind: "k", Output: Output{Digest: blob, Blobs: []Blob{{Digest: blob, Size: 4}}}, Recipe: NewRecipe("k").Text()}
	noEntry := filepath.Join(dir, entryPath(Key{3}))
	err = errors.Join(s.Put(e), s.Mark(Key{2}), s.SetLatest("scope", "a", e.Key),
		os.WriteFile(s.BlobPath(broken), []byte("BROKEN"), 0o600),
		os.MkdirAll(filepath.Dir(noEntry), 0o700), os.WriteFile(noEntry, []byte("no entry"), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	table := NewStatTable("/somewhere")
	for i := range 2 * minStatRecords {
		table.Put(strings.Repeat("x", i+1), &StatRecord{})
	}
	if err := s.WriteStatTable(table); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-72 * time.Hour)
	if err := os.Chtimes(filepath.Join(dir, statPath("/somewhere")), old, old); err != nil {
		t.Fatal(err)
	}
	before := tree(t, dir)

	v, err := View(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if got, err := v.Get(e.Key); err != nil || got.Output.Digest != blob {
		t.Errorf("get: %v, %v", got, err)
	}
	if !v.Marked(Key{2}) || v.Marked(Key{9}) {
		t.Error("marks are not those of the store")
	}
	if k, err := v.Latest("scope", "a"); err != nil || k != e.Key {
		t.Errorf("latest: %v, %v", k, err)
	}
	if v.ReadStatTable("/somewhere").Len() == 0 {
		t.Error("the stat table is empty")
	}
	for range 2 {
		if _, err := v.Get(Key{3}); !errors.Is(err, ErrDamaged) {
			t.Errorf("a damaged entry: %v", err)
		}
	}
	if _, err := v.ReadBlob(broken, 100); !errors.Is(err, ErrDamaged) {
		t.Errorf("a damaged blob: %v", err)
	}
	if err := v.HasBlob(broken, 6); !errors.Is(err, ErrMiss) {
		t.Errorf("a blob that was found damaged: %v", err)
	}
	for _, text := range []string{"new", "broken"} { // what is damaged can be had again
		d, err := v.PutBytes([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if b, err := v.ReadBlob(d, 100); err != nil || string(b) != text {
			t.Errorf("read %q: %q, %v", text, b, err)
		}
		if n, err := v.BlobSize(d); err != nil || n != int64(len(text)) {
			t.Errorf("size of %q: %d, %v", text, n, err)
		}
		if err := v.HasBlob(d, int64(len(text))); err != nil {
			t.Errorf("has %q: %v", text, err)
		}
	}
	unlock, err := v.Lock(t.Context(), e.Key)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
	for what, err := range map[string]error{
		"Put": v.Put(e), "Mark": v.Mark(Key{4}), "SetLatest": v.SetLatest("scope", "b", e.Key), "Delete": v.Delete(e.Key),
		"Tag": v.Tag(t.Context(), "a", Blob{Digest: blob, Size: 4}),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	table.changed = true
	if err := v.WriteStatTable(table); err != nil {
		t.Errorf("a stat table that is not kept: %v", err)
	}
	if _, err := v.TempDir(); err == nil {
		t.Error("TempDir: no error")
	}
	if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
		t.Errorf("the store has changed:\n%s", diff)
	}
}

func TestAViewOfNothingIsEmptyAndMakesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	v, err := View(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.Get(Key{1}); !errors.Is(err, ErrMiss) {
		t.Errorf("get: %v", err)
	}
	if _, err := v.Recipe(Key{1}); !errors.Is(err, ErrMiss) {
		t.Errorf("recipe: %v", err)
	}
	if _, err := v.Latest("s", "a"); !errors.Is(err, ErrMiss) {
		t.Errorf("latest: %v", err)
	}
	if _, err := v.Tagged("a"); !errors.Is(err, ErrMiss) {
		t.Errorf("tagged: %v", err)
	}
	if err := v.HasBlob(Digest{1}, -1); !errors.Is(err, ErrMiss) {
		t.Errorf("blob: %v", err)
	}
	if v.Marked(Key{1}) || v.ReadStatTable("/x").Len() > 0 {
		t.Error("there is something in it")
	}
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}
