package cache_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
)

// ageOf sets back the time of use of the entry that holds a content, and of its blob.
func ageOf(t *testing.T, s *cache.Store, content string, d time.Duration) {
	t.Helper()
	r := cache.NewRecipe("test")
	r.Add("content", content)
	h := r.Key().Hex()
	then := time.Now().Add(-d)
	for _, path := range []string{filepath.Join(s.Dir(), "entries", h[:2], h), s.BlobPath(cache.DigestOf([]byte(content)))} {
		if err := os.Chtimes(path, then, then); err != nil {
			t.Fatal(err)
		}
	}
}

func trim(t *testing.T, s *cache.Store, o cache.PruneOptions) *cache.PruneReport {
	t.Helper()
	r, done, err := s.Trim(t.Context(), o)
	if err != nil || !done || s.Trimming() {
		t.Fatalf("done %v, %v", done, err)
	}
	return r
}

func TestTrimByAge(t *testing.T) {
	s := open(t)
	for _, c := range []string{"old", "held", "pinned", "new"} {
		entry(t, s, c)
		ageOf(t, s, c, 48*time.Hour)
	}
	ageOf(t, s, "new", time.Hour)
	user := reopen(t, s)
	release, err := user.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if len(there(t, user, "held")) != 1 {
		t.Fatal("nothing is found")
	}
	holder := filepath.Join(t.TempDir(), "machine")
	if err := os.WriteFile(holder, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin(holder, []cache.Blob{{Digest: cache.DigestOf([]byte("pinned")), Size: int64(len("pinned"))}}); err != nil {
		t.Fatal(err)
	}
	ageOf(t, s, "pinned", 48*time.Hour)
	r := trim(t, s, cache.PruneOptions{MaxAge: 24 * time.Hour, MaxSize: -1})
	if r.Entries != 1 || r.Blobs != 1 || r.Held != 1 || r.Freed < 3 {
		t.Errorf("%+v", r)
	}
	if diff := cmp.Diff([]string{"held", "pinned", "new"}, there(t, s, "old", "held", "pinned", "new")); diff != "" {
		t.Error(diff)
	}
	release()
}

func TestTrimBySize(t *testing.T) {
	s := open(t)
	var contents []string
	for i := range 10 {
		c := fmt.Sprint(i) + strings.Repeat("x", 10_000)
		contents = append(contents, c)
		entry(t, s, c)
		ageOf(t, s, c, time.Duration(20-i)*time.Hour)
	}
	trim(t, s, cache.PruneOptions{MaxSize: 1 << 30})
	if n := len(there(t, s, contents...)); n != 10 {
		t.Errorf("%d of 10 are left within bounds", n)
	}
	// Six fit, by those used last; what others keep in the directory counts.
	trim(t, s, cache.PruneOptions{MaxSize: 130_000})
	if diff := cmp.Diff(contents[4:], there(t, s, contents...)); diff != "" {
		t.Error(diff)
	}
	trim(t, s, cache.PruneOptions{MaxSize: 130_000, Reserved: 40_000})
	if diff := cmp.Diff(contents[6:], there(t, s, contents...)); diff != "" {
		t.Error(diff)
	}
	// Of what was used at the same time, only so much goes as has to.
	for _, c := range contents[6:] {
		ageOf(t, s, c, 12*time.Hour)
	}
	trim(t, s, cache.PruneOptions{MaxSize: 75_000})
	if n := len(there(t, s, contents...)); n != 3 {
		t.Errorf("%d are left where three have room", n)
	}
}

// countdown is a context that ends after it was asked so many times.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.DeadlineExceeded
	}
	return nil
}

// TestTrimGoesOn: a trim that never has time for all of it comes to the same end.
func TestTrimGoesOn(t *testing.T) {
	s := openShm(t)
	const n = 2000
	var blobs []cache.Blob
	for i := range 100 {
		content := fmt.Sprint("blob", i)
		d, err := s.PutBytes([]byte(content))
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, cache.Blob{Name: "x", Digest: d, Size: int64(len(content))})
	}
	put := func(i int) cache.Key {
		r := recipeOf(fmt.Sprint("entry", i))
		b := blobs[i%len(blobs)]
		if err := s.PutUnsynced(&cache.Entry{Key: r.Key(), Kind: "test", Created: time.Now(), Recipe: r.Text(), Output: cache.Output{Digest: b.Digest, Blobs: []cache.Blob{b}}}); err != nil {
			t.Fatal(err)
		}
		return r.Key()
	}
	for i := range n {
		put(i)
	}
	age(t, s, 40*24*time.Hour)
	var kept []cache.Key
	for i := n; i < n+100; i++ {
		kept = append(kept, put(i))
	}
	for _, b := range blobs[:50] { // half of the blobs are in use
		now := time.Now()
		if err := os.Chtimes(s.BlobPath(b.Digest), now, now); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	s = reopen(t, s)
	calls, entries, removed := 0, 0, 0
	for done := false; !done; calls++ {
		r, d, err := s.Trim(&countdown{t.Context(), 300}, cache.PruneOptions{MaxAge: 30 * 24 * time.Hour, MaxSize: -1})
		if err != nil {
			t.Fatal(err)
		}
		if d == s.Trimming() {
			t.Fatalf("done %v, and trimming %v", d, s.Trimming())
		}
		done, entries, removed = d, entries+r.Entries, removed+r.Blobs
		if calls > 200 {
			t.Fatal("it comes to no end")
		}
	}
	t.Logf("%d calls", calls)
	if calls < 5 || entries != n || removed != 50 {
		t.Errorf("%d calls removed %d entries and %d blobs, want several, %d and 50", calls, entries, removed, n)
	}
	whole := 0
	for _, k := range kept {
		if _, err := s.Get(k); err == nil {
			whole++
		}
	}
	if whole != 50 {
		t.Errorf("%d new entries are whole, want 50", whole)
	}
	// A state that is none is a new trim's.
	for _, text := range []string{"", "{", `{"phase":99}`, `{"unit":-1}`, `{"stride":-5}`} {
		if err := os.WriteFile(filepath.Join(s.Dir(), "chores", "trim.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		trim(t, s, cache.PruneOptions{MaxAge: time.Hour, MaxSize: -1})
	}
}
