package remote

import (
	"errors"
	"os"
	"testing"
	"time"

	"bottlebuild/cache"
)

// TestPartsOfEntries: what was fetched of an entry is neither damaged nor in the
// way, stays while a process needs it, and makes the entry whole in the end.
func TestPartsOfEntries(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	e := one.makeImage(t, "web")
	one.publish(ctx, e)

	two := w.machine(nil)
	release, err := two.store.Hold()
	if err != nil {
		t.Fatal(err)
	}
	got, err := two.Find(ctx, e.Key)
	if err != nil {
		t.Fatal(err)
	}
	part := *got
	part.Output.Blobs = got.Output.Blobs[:2] // manifest and config
	if err := two.fetch(ctx, &part); err != nil {
		t.Fatal(err)
	}
	if _, err := two.store.Get(e.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("the entry is there without its layer: %v", err)
	}
	verify := func() {
		t.Helper()
		if v, err := two.store.Verify(ctx, cache.VerifyOptions{Jobs: 1}); err != nil || len(v.Damaged) > 0 {
			t.Errorf("verify: %+v, %v", v, err)
		}
	}
	verify()
	// Another process prunes all that nobody needs.
	other, err := cache.Open(two.store.Dir())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	prune := func() *cache.PruneReport {
		t.Helper()
		r, err := other.Prune(ctx, cache.PruneOptions{All: true, MaxSize: -1})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if r := prune(); r.Blobs != 0 {
		t.Errorf("a prune took %d blobs that a lease holds", r.Blobs)
	}
	// The rest comes by way of another cache, as after a kill.
	if err := two.client().download(ctx, two.store, got.Output.Blobs[2], silent{}); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Find(ctx, e.Key); err != nil {
		t.Fatal(err)
	}
	if own, err := two.store.Get(e.Key); err != nil || own.From == "" {
		t.Errorf("all of it is here, and the entry is not: %v", err)
	}
	if r := prune(); r.Blobs != 0 || r.Held == 0 {
		t.Errorf("a prune took what a lease holds: %+v", r)
	}
	release()

	// Without a lease it goes some time later, and comes again.
	for _, b := range got.Output.Blobs {
		then := time.Now().Add(-time.Hour)
		if err := os.Chtimes(two.store.BlobPath(b.Digest), then, then); err != nil {
			t.Fatal(err)
		}
	}
	if r := prune(); r.Blobs != 3 {
		t.Errorf("%+v", r)
	}
	verify()
	if _, err := two.store.Get(e.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("%v", err)
	}
	if got, err = two.Find(ctx, e.Key); err != nil {
		t.Fatal(err)
	}
	if err := two.fetch(ctx, got); err != nil {
		t.Error(err)
	}
	if _, err := two.store.Get(e.Key); err != nil {
		t.Error(err)
	}
}

// TestMarks: what was fetched is no surprise to a plan that asks no shared cache.
func TestMarks(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	e := one.make(t, "web", "content")
	one.publish(ctx, e)
	two := w.machine(nil)
	got, err := two.Find(ctx, e.Key)
	if err == nil {
		err = two.fetch(ctx, got)
	}
	if err != nil || !two.store.Marked(e.Partial) {
		t.Errorf("marked: %v, %v", two.store.Marked(e.Partial), err)
	}
}

func (m *machine) client() *client { return m.repos[0].client }
