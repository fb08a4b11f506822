package cache_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
)

func open(t *testing.T) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// entry puts an entry with one blob into the store.
func entry(t *testing.T, s *cache.Store, content string) *cache.Entry {
	t.Helper()
	r := cache.NewRecipe("test")
	r.Add("content", content)
	d, n, err := s.PutBlob(strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	e := &cache.Entry{Key: r.Key(), Kind: "test", Address: "a", Recipe: r.Text(),
		Output: cache.Output{Digest: d, Blobs: []cache.Blob{{Name: "x", Digest: d, Size: n}}}}
	if err := s.Put(e); err != nil {
		t.Fatal(err)
	}
	return e
}

func TestOpenRefusesWhatOthersCanChange(t *testing.T) {
	dir := t.TempDir()
	link, file, shared := filepath.Join(dir, "link"), filepath.Join(dir, "file"), filepath.Join(dir, "shared")
	for _, err := range []error{os.Symlink(dir, link), os.WriteFile(file, nil, 0o600), os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{link: "symbolic link", file: "not a directory", shared: "chmod go-w"} {
		if s, err := cache.Open(path); err == nil {
			s.Close()
			t.Errorf("%s was opened", path)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", path, err, want)
		}
	}
	if os.Geteuid() == 0 {
		theirs := filepath.Join(dir, "theirs")
		if err := errors.Join(os.Mkdir(theirs, 0o700), os.Chown(theirs, 12345, 12345)); err != nil {
			t.Fatal(err)
		}
		if _, err := cache.Open(theirs); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("another user's directory: %v", err)
		}
	}
}

func TestStoreIsPrivateAndALayout(t *testing.T) {
	s := open(t)
	fi, err := os.Stat(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != 0o700 {
		t.Errorf("mode is %v", fi.Mode())
	}
	for _, name := range []string{"oci-layout", "index.json", "blobs/sha256"} {
		if _, err := os.Stat(filepath.Join(s.Dir(), name)); err != nil {
			t.Error(err)
		}
	}
}

func TestBlobs(t *testing.T) {
	s := open(t)
	d, err := s.PutBytes([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := s.ReadBlob(d, 100); err != nil || string(b) != "content" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := s.ReadBlob(d, 3); err == nil {
		t.Error("a blob over the limit was read")
	}
	if _, err := s.OpenBlob(cache.DigestOf([]byte("other"))); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("a blob that is not there: %v", err)
	}
	w, err := s.NewBlob()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	io.WriteString(w, "other")
	if _, err := w.Commit(d); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("commit under a wrong digest: %v", err)
	}
	if err := s.HasBlob(cache.DigestOf([]byte("other")), 5); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("a refused blob is there: %v", err)
	}
}

func TestBlobContentIsVerified(t *testing.T) {
	for name, damage := range map[string][]byte{"same size": []byte("CONTENT"), "shorter": []byte("con"), "longer": []byte("contents!"), "empty": nil} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			e := entry(t, s, "content")
			if err := os.WriteFile(s.BlobPath(e.Output.Digest), damage, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ReadBlob(e.Output.Digest, 100); !errors.Is(err, cache.ErrDamaged) {
				t.Errorf("read: %v", err)
			}
			if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrMiss) {
				t.Errorf("its entry after that: %v", err)
			}
			if q, err := os.ReadDir(filepath.Join(s.Dir(), "quarantine")); err != nil || len(q) != 1 {
				t.Errorf("quarantine has %v, %v", q, err)
			}
			entry(t, s, "content") // made again, it is whole
			if _, err := s.Get(e.Key); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestEveryDamageToAnEntryIsAMiss(t *testing.T) {
	s := open(t)
	e := entry(t, s, "content")
	file := filepath.Join(s.Dir(), "entries", e.Key.Hex()[:2], e.Key.Hex())
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, b []byte) {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrMiss) || !errors.Is(err, cache.ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := range whole {
		try(fmt.Sprintf("truncated to %d bytes", n), whole[:n])
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x20
		try(fmt.Sprintf("byte %d flipped", n), flipped)
	}
	try("longer", append(bytes.Clone(whole), 'x'))
	other := entry(t, s, "other")
	b, err := os.ReadFile(filepath.Join(s.Dir(), "entries", other.Key.Hex()[:2], other.Key.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	try("another key's entry", b)
	if err := os.WriteFile(file, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Get(e.Key); err != nil || got.Recipe != e.Recipe {
		t.Errorf("the whole entry: %+v, %v", got, err)
	}
}

func TestAMissingBlobIsAMiss(t *testing.T) {
	s := open(t)
	e := entry(t, s, "content")
	if err := os.Remove(s.BlobPath(e.Output.Digest)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrMiss) || !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("error is %v", err)
	}
	if err := s.Put(e); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("put without the blob: %v", err)
	}
	if text, err := s.Recipe(e.Key); err != nil || text != e.Recipe {
		t.Errorf("recipe %q, %v", text, err)
	}
}

func TestSymlinksInTheStoreAreNotFollowed(t *testing.T) {
	s := open(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := cache.DigestOf([]byte("secret"))
	if err := os.Symlink(secret, s.BlobPath(d)); err != nil {
		t.Fatal(err)
	}
	if b, err := s.ReadBlob(d, 100); err == nil {
		t.Errorf("read %q through a symbolic link", b)
	}
	if err := s.HasBlob(d, 6); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("a link counts as a blob: %v", err)
	}
}

func TestNothingIsLeftInTmp(t *testing.T) {
	s := open(t)
	entry(t, s, "content")
	w, err := s.NewBlob()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "dropped")
	w.Close()
	if left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp")); err != nil || len(left) > 0 {
		t.Errorf("tmp has %v, %v", left, err)
	}
}

func TestTags(t *testing.T) {
	s := open(t)
	put := func(content string) cache.Blob {
		d, n, err := s.PutBlob(strings.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		return cache.Blob{Name: "manifest", MediaType: "text/plain", Digest: d, Size: n}
	}
	a, b := put("a"), put("b")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.Tag(t.Context(), fmt.Sprintf("repo:%d", i), a); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.Tag(t.Context(), "repo:3", b); err != nil {
		t.Fatal(err)
	}
	if err := s.Untag(t.Context(), "repo:4"); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		got, err := s.Tagged(fmt.Sprintf("repo:%d", i))
		want := a
		if i == 3 {
			want = b
		}
		if i == 4 {
			if !errors.Is(err, cache.ErrMiss) {
				t.Errorf("an untagged name: %v", err)
			}
		} else if err != nil || got != want {
			t.Errorf("repo:%d is %v, %v", i, got, err)
		}
	}
}

func TestLocksKeepOthersWaiting(t *testing.T) {
	s := open(t)
	k := cache.NewRecipe("test").Key()
	unlock, err := s.Lock(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { _, err := s.Lock(ctx, k); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("a lock that is held: %v", err)
	}
	unlock()
	again, err := s.Lock(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	again()
}

func TestMarksAndLatest(t *testing.T) {
	s := open(t)
	k := cache.NewRecipe("test").Key()
	if s.Marked(k) {
		t.Error("marked before it was")
	}
	if err := s.Mark(k); err != nil || !s.Marked(k) {
		t.Error("not marked", err)
	}
	if _, err := s.Latest("p", "a"); !errors.Is(err, cache.ErrMiss) {
		t.Error(err)
	}
	if err := s.SetLatest("p", "a", k); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Latest("p", "a"); err != nil || got != k {
		t.Error(got, err)
	}
	if _, err := s.Latest("q", "a"); !errors.Is(err, cache.ErrMiss) {
		t.Error("another scope:", err)
	}
}

// The last keys of an address are remembered, a few and each once; also one that
// an earlier version recorded, which knew one only.
func TestRecent(t *testing.T) {
	s := open(t)
	set := func(ks ...cache.Key) {
		t.Helper()
		for _, k := range ks {
			if err := s.SetLatest("p", "a", k); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(ks ...cache.Key) {
		t.Helper()
		got, err := s.Recent("p", "a")
		if diff := cmp.Diff(ks, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		if latest, err := s.Latest("p", "a"); err != nil || latest != ks[0] {
			t.Errorf("the latest is %s, %v", latest, err)
		}
	}
	set(cache.Key{1})
	files, err := filepath.Glob(filepath.Join(s.Dir(), "latest", "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if b, err := os.ReadFile(files[0]); err != nil || string(b) != fmt.Sprintln(cache.Key{1}) {
		t.Errorf("one key is recorded as %q, %v", b, err)
	}
	set(cache.Key{2}, cache.Key{1}, cache.Key{1})
	want(cache.Key{1}, cache.Key{2})
	for i := range byte(8) {
		set(cache.Key{10 + i})
	}
	want(cache.Key{17}, cache.Key{16}, cache.Key{15}, cache.Key{14}, cache.Key{13}, cache.Key{12}, cache.Key{11}, cache.Key{10})
	for name, text := range map[string]string{"empty": "", "no key": "x\n", "a key and none": cache.Key{1}.String() + "\nx\n"} {
		if err := os.WriteFile(files[0], []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Recent("p", "a"); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		set(cache.Key{3})
		want(cache.Key{3})
	}
}

// The same key may be made and read by any number of stores on one directory.
func TestManyWritersOfOneKey(t *testing.T) {
	first := open(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s, err := cache.Open(first.Dir())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			for i := range 20 {
				e := entry(t, s, fmt.Sprint("content", i%5))
				if _, err := s.Get(e.Key); err != nil {
					t.Error(err)
				}
				if err := s.VerifyBlob(e.Output.Digest); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}
