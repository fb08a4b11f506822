package buildcontext

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// TestStatCache replaces a file behind the scanner's back in a way that only a
// scan which reads the file would see, to tell whether it is read.
func TestStatCache(t *testing.T) {
	store, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	must(t, err)
	defer store.Close()
	dir := t.TempDir()
	big := strings.Repeat("x", 300<<10) // enough for a table to be written
	write(t, filepath.Join(dir, "file"), big, 0o644)
	write(t, filepath.Join(dir, "gone"), big, 0o644)
	write(t, filepath.Join(dir, "skip/other"), big, 0o644)
	req := Request{Dir: dir}

	young := New(store, 1)
	truth := scan(t, young, req)
	if n := young.directory(dir).table.Len(); n != 0 {
		t.Errorf("%d files that are seconds old were trusted", n)
	}
	must(t, young.Save(t.Context()))
	if _, err := os.Stat(filepath.Join(store.Dir(), "stat")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a table without records was written: %v", err)
	}

	time.Sleep(2100 * time.Millisecond) // until the files are settled
	s := New(store, 2)
	if got := scan(t, s, req); got.Digest != truth.Digest {
		t.Errorf("digest %s, then %s", truth.Digest, got.Digest)
	}
	must(t, s.Save(t.Context()))

	table := store.ReadStatTable(dir)
	if table.Len() != 3 {
		t.Fatalf("the table holds %d files, not 3", table.Len())
	}
	lie := cache.DigestOf([]byte("from the table"))
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(dir, "file"), &st))
	table.Put("file", &cache.StatRecord{FileStamp: stampOf(&st), Digest: lie})
	must(t, store.WriteStatTable(table))
	liar := New(store, 2)
	if tree := scan(t, liar, req); !strings.Contains(string(tree.Listing()), lie.Hex()) {
		t.Error("a file that had not changed was read again")
	}

	// Same size, same times as far as a user can set them.
	write(t, filepath.Join(dir, "file"), strings.Replace(big, "x", "y", 1), 0o644)
	must(t, os.Chtimes(filepath.Join(dir, "file"), time.Unix(0, st.Mtim.Nano()), time.Unix(0, st.Mtim.Nano())))
	if tree := scan(t, liar, req); strings.Contains(string(tree.Listing()), lie.Hex()) || tree.Digest == truth.Digest {
		t.Error("a file that had changed was not read again")
	}

	// Only a scan that sees everything knows what is gone.
	must(t, os.Remove(filepath.Join(dir, "gone")))
	scan(t, liar, Request{Dir: dir, Ignore: []string{"skip"}})
	if n := liar.directory(dir).table.Len(); n != 3 {
		t.Errorf("after a scan of a part %d files are known, not 3", n)
	}
	scan(t, liar, req)
	must(t, liar.Save(t.Context()))
	after := store.ReadStatTable(dir)
	must(t, unix.Lstat(filepath.Join(dir, "skip/other"), &st))
	if after.Lookup("skip/other", stampOf(&st)) == nil || after.Len() != 2 {
		t.Errorf("after a scan of all %d files are known, not 2 with skip/other", after.Len())
	}
}
