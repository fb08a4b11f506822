package cache_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bottlebuild/cache"

	"github.com/google/go-cmp/cmp"
)

// age sets back the time of use of everything in the store, as if it had all
// been done that long ago.
func age(t *testing.T, s *cache.Store, d time.Duration) {
	t.Helper()
	then := time.Now().Add(-d)
	for _, dir := range []string{"blobs", "entries", "marks", "latest"} {
		err := filepath.WalkDir(filepath.Join(s.Dir(), dir), func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				err = os.Chtimes(path, then, then)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// reopen returns another store on the same directory, as another process has.
func reopen(t *testing.T, s *cache.Store) *cache.Store {
	t.Helper()
	other, err := cache.Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	return other
}

func prune(t *testing.T, s *cache.Store, o cache.PruneOptions) *cache.PruneReport {
	t.Helper()
	r, err := s.Prune(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// there tells which of the contents have a whole entry.
func there(t *testing.T, s *cache.Store, contents ...string) (found []string) {
	t.Helper()
	for _, c := range contents {
		r := cache.NewRecipe("test")
		r.Add("content", c)
		switch e, err := s.Get(r.Key()); {
		case errors.Is(err, cache.ErrMiss):
		case err != nil:
			t.Fatal(err)
		default:
			if b, err := s.ReadBlob(e.Output.Digest, 1<<20); err != nil || string(b) != c {
				t.Errorf("the blob of %q is %q, %v", c, b, err)
			}
			found = append(found, c)
		}
	}
	return found
}

func TestPruneByAge(t *testing.T) {
	s := open(t)
	entry(t, s, "old")
	age(t, s, 48*time.Hour)
	entry(t, s, "new")
	o := cache.PruneOptions{MaxAge: 24 * time.Hour, MaxSize: -1, DryRun: true}
	dry := prune(t, s, o)
	if diff := cmp.Diff([]string{"old", "new"}, there(t, reopen(t, s), "old", "new")); diff != "" {
		t.Errorf("after a dry run:\n%s", diff)
	}
	o.DryRun = false
	real := prune(t, s, o)
	if diff := cmp.Diff([]string{"new"}, there(t, s, "old", "new")); diff != "" {
		t.Error(diff)
	}
	if dry.Entries != 1 || dry.Freed != real.Freed || dry.Blobs != real.Blobs || dry.Size != real.Size || real.Freed < 3 {
		t.Errorf("dry %+v, real %+v", dry, real)
	}
}

func TestPruneBySizeTakesTheLeastRecentlyUsed(t *testing.T) {
	s := open(t)
	big := strings.Repeat("x", 10_000)
	for _, c := range []string{"a", "b", "c"} {
		entry(t, s, c+big)
	}
	age(t, s, 72*time.Hour)
	user := reopen(t, s)
	release, err := user.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if len(there(t, user, "a"+big)) != 1 { // now it was used last
		t.Fatal("a is not there")
	}
	release()
	prune(t, s, cache.PruneOptions{MaxSize: 40_000})
	if diff := cmp.Diff([]string{"a" + big}, there(t, s, "a"+big, "b"+big, "c"+big)); diff != "" {
		t.Error(diff)
	}
}

func TestPruneKeepsWhatALeaseHolds(t *testing.T) {
	s := open(t)
	entry(t, s, "found")
	entry(t, s, "not looked for")
	age(t, s, 48*time.Hour)
	user := reopen(t, s)
	release, err := user.Hold()
	if err != nil {
		t.Fatal(err)
	}
	if len(there(t, user, "found")) != 1 {
		t.Fatal("nothing is found")
	}
	// Written and not yet named by an entry.
	loose, err := user.PutBytes([]byte("loose"))
	if err != nil {
		t.Fatal(err)
	}
	all := cache.PruneOptions{All: true, MaxSize: -1}
	if r := prune(t, s, all); r.Held != 1 || r.Entries != 1 {
		t.Errorf("report is %+v", r)
	}
	if diff := cmp.Diff([]string{"found"}, there(t, user, "found", "not looked for")); diff != "" {
		t.Error(diff)
	}
	if err := user.HasBlob(loose, 5); err != nil {
		t.Error(err)
	}
	release()
	user.Close()
	age(t, s, time.Minute)
	if r := prune(t, s, all); r.Entries != 1 || r.Size != 0 {
		t.Errorf("when the lease has ended, the report is %+v", r)
	}
}

func TestPruneKeepsWhatIsPinned(t *testing.T) {
	s := open(t)
	e := entry(t, s, "pinned")
	entry(t, s, "other")
	holder := filepath.Join(t.TempDir(), "machine.json")
	if err := errors.Join(os.WriteFile(holder, nil, 0o600), s.Pin(holder, e.Output.Blobs)); err != nil {
		t.Fatal(err)
	}
	age(t, s, time.Hour)
	prune(t, s, cache.PruneOptions{All: true, MaxSize: -1})
	if diff := cmp.Diff([]string{"pinned"}, there(t, s, "pinned", "other")); diff != "" {
		t.Error(diff)
	}
	if err := os.Remove(holder); err != nil {
		t.Fatal(err)
	}
	prune(t, s, cache.PruneOptions{All: true, MaxSize: -1})
	if left := there(t, s, "pinned"); left != nil {
		t.Errorf("when its holder is gone: %v", left)
	}
	if pins, err := os.ReadDir(filepath.Join(s.Dir(), "pins")); err != nil || len(pins) > 0 {
		t.Errorf("pins are %v, %v", pins, err)
	}
}

func TestPruneKeepsWhatExplains(t *testing.T) {
	s := open(t)
	listing, err := s.PutBytes([]byte("listing"))
	if err != nil {
		t.Fatal(err)
	}
	content, n, err := s.PutBlob(strings.NewReader("content"))
	if err != nil {
		t.Fatal(err)
	}
	r := cache.NewRecipe("image")
	r.AddDigest("context", listing)
	e := &cache.Entry{Key: r.Key(), Kind: "image", Recipe: r.Text(), Created: time.Now(),
		Output: cache.Output{Digest: content, Blobs: []cache.Blob{{Digest: content, Size: n}}}}
	if err := errors.Join(s.Put(e), s.SetLatest("p", "a", e.Key)); err != nil {
		t.Fatal(err)
	}
	age(t, s, time.Hour)
	prune(t, s, cache.PruneOptions{MaxSize: -1})
	if err := s.HasBlob(listing, 7); err != nil {
		t.Errorf("the listing that a recipe names: %v", err)
	}
	age(t, s, time.Hour)
	prune(t, s, cache.PruneOptions{MaxSize: 0})
	if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrEvicted) {
		t.Errorf("the newest entry of an address: %v", err)
	}
	if text, err := s.Recipe(e.Key); err != nil || text != e.Recipe {
		t.Errorf("its recipe: %q, %v", text, err)
	}
	prune(t, s, cache.PruneOptions{All: true, MaxSize: -1})
	if _, err := s.Recipe(e.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("its recipe after --all: %v", err)
	}
}

// The record of an address stays for as long as one of its keys has an entry.
func TestPruneKeepsKeysOfEntries(t *testing.T) {
	s := open(t)
	e := entry(t, s, "content")
	if err := errors.Join(s.SetLatest("p", "a", e.Key), s.SetLatest("p", "a", cache.Key{1})); err != nil {
		t.Fatal(err)
	}
	age(t, s, 60*24*time.Hour)
	prune(t, s, cache.PruneOptions{MaxSize: -1})
	if keys, err := s.Recent("p", "a"); err != nil || len(keys) != 2 {
		t.Errorf("%v, %v", keys, err)
	}
	if err := s.Delete(e.Key); err != nil {
		t.Fatal(err)
	}
	age(t, s, 60*24*time.Hour)
	prune(t, s, cache.PruneOptions{MaxSize: -1})
	if keys, err := s.Recent("p", "a"); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("without entries: %v, %v", keys, err)
	}
}

func TestPruneDropsTagsOfWhatIsGone(t *testing.T) {
	s := open(t)
	e := entry(t, s, "content")
	if err := s.Tag(t.Context(), "r/x:1", e.Output.Blobs[0]); err != nil {
		t.Fatal(err)
	}
	age(t, s, time.Hour)
	prune(t, s, cache.PruneOptions{MaxSize: -1})
	if _, err := s.Tagged("r/x:1"); err != nil {
		t.Error(err)
	}
	age(t, s, time.Hour)
	prune(t, s, cache.PruneOptions{All: true, MaxSize: -1})
	b, err := os.ReadFile(filepath.Join(s.Dir(), "index.json"))
	if err != nil || strings.Contains(string(b), "r/x:1") {
		t.Errorf("index.json is %s, %v", b, err)
	}
}

// A mark without an entry costs nothing; an entry without its mark breaks plans.
func TestPruneKeepsMarksOfEntries(t *testing.T) {
	s := open(t)
	k := cache.NewRecipe("partial").Key()
	if err := s.Mark(k); err != nil {
		t.Fatal(err)
	}
	age(t, s, 100*24*time.Hour)
	if err := s.Mark(k); err != nil { // for another entry
		t.Fatal(err)
	}
	e := entry(t, s, "content")
	e.Created = time.Now()
	if err := s.Put(e); err != nil {
		t.Fatal(err)
	}
	prune(t, s, cache.PruneOptions{MaxSize: -1})
	if !s.Marked(k) {
		t.Error("the mark of an entry is gone")
	}
	age(t, s, 100*24*time.Hour)
	prune(t, s, cache.PruneOptions{All: true, MaxSize: -1})
	if s.Marked(k) {
		t.Error("a mark older than every entry is there")
	}
}

func TestPruneEndsWithItsContext(t *testing.T) {
	s := open(t)
	entry(t, s, "content")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Prune(ctx, cache.PruneOptions{All: true}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock, err := s.LockName(t.Context(), "prune")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if _, err := s.Prune(t.Context(), cache.PruneOptions{All: true}); !errors.Is(err, cache.ErrBusy) {
		t.Error(err)
	}
}

func TestSweepRemovesWhatTheDeadLeft(t *testing.T) {
	s := open(t)
	w, err := s.NewBlob() // of a process that lives
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	io.WriteString(w, "half")
	tmp := filepath.Join(s.Dir(), "tmp")
	dead := strings.Repeat("A", 26)
	for name, hours := range map[string]int{dead + "-x": 0, "foreign": 1, "foreign-old": 48} {
		then := time.Now().Add(-time.Duration(hours) * time.Hour)
		if err := errors.Join(os.MkdirAll(filepath.Join(tmp, name, "x"), 0o700), os.Chtimes(filepath.Join(tmp, name), then, then)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(s.Dir(), "leases", dead), nil, 0o600), s.Sweep()); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(tmp)
	if err != nil || len(left) != 2 || left[0].Name() == dead+"-x" || left[1].Name() != "foreign" {
		t.Errorf("left are %v, %v", left, err)
	}
	if leases, err := s.Leases(); err != nil || len(leases) != 1 {
		t.Errorf("leases are %v, %v", leases, err)
	}
}

func TestQuarantineIsBounded(t *testing.T) {
	s := open(t)
	for range 70 {
		e := entry(t, s, "content")
		if err := os.Truncate(s.BlobPath(e.Output.Digest), 3); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(e.Key); !errors.Is(err, cache.ErrMiss) {
			t.Fatal(err)
		}
	}
	if q, err := os.ReadDir(filepath.Join(s.Dir(), "quarantine")); err != nil || len(q) != 64 {
		t.Errorf("quarantine has %d files, %v", len(q), err)
	}
}

func TestLocksLeaveNoFiles(t *testing.T) {
	s := open(t)
	k := cache.NewRecipe("test").Key()
	var inside atomic.Int32
	done := make(chan error)
	const workers = 8
	for range workers {
		go func() {
			for range 20 {
				unlock, err := s.Lock(context.Background(), k)
				if err != nil {
					done <- err
					return
				}
				if inside.Add(1) != 1 {
					err = errors.New("two hold it")
				}
				inside.Add(-1)
				unlock()
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range workers {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	// Two are always there, see lockSweep.
	if left, err := os.ReadDir(filepath.Join(s.Dir(), "locks")); err != nil || len(left) > 2 {
		t.Errorf("locks has %v, %v", left, err)
	}
}
