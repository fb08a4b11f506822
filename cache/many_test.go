package cache_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"bottlebuild/cache"
)

// TestManyEntries looks up and prunes among very many entries, which share some
// blobs. It logs how long that took; make bench prints figures.
func TestManyEntries(t *testing.T) {
	s := openShm(t)
	n := scale(5_000, 1_000_000)
	var blobs []cache.Blob
	for i := range 100 {
		d, err := s.PutBytes(fmt.Append(nil, "blob", i))
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, cache.Blob{Name: "x", Digest: d, Size: int64(len(fmt.Sprint("blob", i)))})
	}
	name := func(i int) string { return fmt.Sprint("entry", i) }
	for i := range n {
		r := recipeOf(name(i))
		e := &cache.Entry{Key: r.Key(), Kind: "test", Address: name(i), Created: time.Now(), Recipe: r.Text(),
			Output: cache.Output{Digest: blobs[i%len(blobs)].Digest, Blobs: blobs[i%len(blobs):][:1]}}
		if err := s.PutUnsynced(e); err != nil {
			t.Fatal(err)
		}
	}
	took := make([]time.Duration, 10_000)
	for i := range took {
		who := rand.IntN(n)
		key := recipeOf(name(who)).Key()
		start := time.Now()
		e, err := s.Get(key)
		took[i] = time.Since(start)
		if err != nil || e.Address != name(who) {
			t.Fatalf("%s: %+v, %v", name(who), e, err)
		}
	}
	slices.Sort(took)
	s.Close()
	start := time.Now()
	s = reopen(t, s)
	r := prune(t, s, cache.PruneOptions{All: true, MaxSize: -1})
	t.Logf("%d entries: lookup p50 %s, p99 %s; pruned in %s, %d slices, the longest %s",
		n, took[len(took)/2], took[len(took)*99/100], time.Since(start).Round(time.Millisecond), r.Slices, r.LongestSlice)
	if r.Entries != n {
		t.Errorf("pruned %d of %d entries", r.Entries, n)
	}
	if list, err := s.List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("%d entries are left, %v", len(list), err)
	}
}
