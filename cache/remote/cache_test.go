package remote

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/crane"

	"bottlebuild/cache"
)

func TestPublishFindFetch(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	e := one.make(t, "web", "content", strings.Repeat("x", 3<<20))
	one.publish(ctx, e)
	if len(one.notices) > 0 {
		t.Fatal(one.notices)
	}

	two := w.machine(nil)
	got, err := two.Find(ctx, e.Key)
	if err != nil {
		t.Fatal(err)
	}
	want := *e
	want.From = w.host + "/acme/bb-cache"
	if d := cmp.Diff(&want, got); d != "" {
		t.Error(d)
	}
	if _, err := two.store.Get(e.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("found, it is in the store before anything needs it: %v", err)
	}
	if w.count("GET blob") != 1 { // the index
		t.Errorf("%d blobs were downloaded to find it", w.count("GET blob"))
	}
	if err := two.fetch(ctx, got); err != nil {
		t.Fatal(err)
	}
	if own, err := two.store.Get(e.Key); err != nil || own.Recipe != e.Recipe {
		t.Errorf("fetched, it is not the store's own: %v", err)
	}
	if s := two.Stats(); s.FetchedBlobs != 2 || s.FetchedBytes != 3<<20+7 {
		t.Errorf("stats are %+v", s)
	}
	if !two.Marked(ctx, e.Partial) || two.Marked(ctx, cache.Key{}) {
		t.Error("the partial key is not known")
	}
	if text, ok := two.Latest("bottle.web"); !ok || text != e.Recipe {
		t.Error("the recipe of the address is not known")
	}
}

// Records are written once: a second builder of the same key leaves the first's.
func TestRecordsAreWrittenOnce(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one, two := w.machine(nil), w.machine(nil)
	first, second := one.make(t, "web", "one"), two.make(t, "web", "two")
	one.publish(ctx, first)
	two.publish(ctx, second)
	got, err := w.machine(nil).Find(ctx, first.Key)
	if err != nil || got.Output.Digest != first.Output.Digest {
		t.Errorf("the record was written again: %v", err)
	}
	if n := two.Stats().PushedEntries; n != 0 {
		t.Errorf("%d entries were pushed", n)
	}
}

// What was learnt is kept: a second look asks nothing, and a plan believes a miss
// for a while.
func TestLooksAreRemembered(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	e := one.make(t, "web", "content")
	one.publish(ctx, e)
	absent := one.make(t, "absent", "nobody has it")
	dir := t.TempDir()
	for i, want := range []int{1, 0, 0} {
		look := w.machineIn(filepath.Join(dir), func(c *Config) { c.LookOnly = true })
		w.inject(nil)
		if _, err := look.Find(ctx, e.Key); err != nil {
			t.Fatal(err)
		}
		if _, err := look.Find(ctx, absent.Key); !errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrUncertain) {
			t.Fatal(err)
		}
		if n := w.count("GET record"); n != want {
			t.Errorf("look %d asked for %d records, want %d", i+1, n, want)
		}
		look.Close()
		look.store.Close()
	}
	// A run asks again.
	w.inject(nil)
	run := w.machineIn(dir, nil)
	if _, err := run.Find(ctx, absent.Key); !errors.Is(err, cache.ErrMiss) || w.count("GET record") != 1 {
		t.Errorf("a run asked %d times: %v", w.count("GET record"), err)
	}
}

// The index spares lookups: of keys in it no record is asked for.
func TestIndex(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	var entries []*cache.Entry
	for _, name := range []string{"a", "b", "c", "d"} {
		entries = append(entries, one.make(t, name, name))
	}
	one.publish(ctx, entries[:3]...)
	two := w.machine(nil)
	d := two.make(t, "d", "d")
	two.publish(ctx, d) // takes over what is in the index
	three := w.machine(nil)
	w.inject(nil)
	for _, e := range entries {
		if _, err := three.Find(ctx, e.Key); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.count("GET record"); n != 0 {
		t.Errorf("%d records were asked for", n)
	}
	// A run in which all was in the index does not write it again.
	w.inject(nil)
	three.Flush(ctx)
	if n := w.count("PUT index"); n != 0 {
		t.Error("the index was written again")
	}
}

// An image's record is an index with the image in it, under its own digest.
func TestImageIsAnImage(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	e := one.makeImage(t, "web")
	one.publish(ctx, e)
	if len(one.notices) > 0 {
		t.Fatal(one.notices)
	}
	ref := w.host + "/acme/bb-cache:" + recordTag(e.Key)
	img, err := crane.Pull(ref)
	if err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil || d.String() != e.Output.Digest.String() {
		t.Errorf("crane pulls %s, %v, want %s", d, err, e.Output.Digest)
	}
	layers, err := img.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("it has %d layers, %v", len(layers), err)
	}
	two := w.machine(nil)
	got, err := two.Find(ctx, e.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := two.fetch(ctx, got); err != nil {
		t.Error(err)
	}
}

// A blob that is gone makes its record a miss, and only that.
func TestGoneBlobIsAMiss(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	whole, gone := one.make(t, "whole", "whole"), one.make(t, "gone", "gone")
	one.publish(ctx, whole, gone)
	w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, gone.Output.Blobs[0].Digest.Hex()) {
			http.NotFound(rw, r)
			return true
		}
		return false
	})
	two := w.machine(nil)
	for _, e := range []*cache.Entry{whole, gone} {
		if _, err := two.Find(ctx, e.Key); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.fetch(ctx, gone); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("fetch: %v", err)
	}
	if _, err := two.Find(ctx, gone.Key); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("it is found again: %v", err)
	}
	if _, err := two.Find(ctx, whole.Key); err != nil || two.Denials() != 1 {
		t.Errorf("the other: %v, %d denials", err, two.Denials())
	}
	two.StopReading()
	if _, err := two.Find(ctx, whole.Key); !errors.Is(err, cache.ErrMiss) {
		t.Error("it is still read")
	}
}

func TestInterrupted(t *testing.T) {
	w := newWorld(t)
	one := w.machine(nil)
	e := one.make(t, "web", strings.Repeat("x", 1<<20))
	one.publish(t.Context(), e)
	started := make(chan struct{})
	w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
		if operation(r) == "GET blob" && strings.Contains(r.URL.Path, e.Output.Blobs[0].Digest.Hex()) {
			close(started)
			<-r.Context().Done()
			return true
		}
		return false
	})
	two := w.machine(nil)
	if _, err := two.Find(t.Context(), e.Key); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	go func() {
		<-started
		cancel(stopped)
	}()
	if err := two.fetch(ctx, e); !errors.Is(err, stopped) || errors.Is(err, cache.ErrMiss) {
		t.Errorf("fetch: %v", err)
	}
	if two.Denials() != 0 {
		t.Error("the record is no longer used")
	}
}
