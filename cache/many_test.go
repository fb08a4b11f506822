package cache_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"bottlebuild/cache"
)

var manyEntries = flag.Int("cache.entries", 1_000_000, "how many entries the benchmarks of large stores have")

func manyName(i int) string { return fmt.Sprint("entry", i) }

// fillMany puts n entries into a store, which share some blobs.
func fillMany(t testing.TB, s *cache.Store, n int) {
	t.Helper()
	var blobs []cache.Blob
	for i := range 100 {
		d, err := s.PutBytes(fmt.Append(nil, "blob", i))
		if err != nil {
			t.Fatal(err)
		}
		blobs = append(blobs, cache.Blob{Name: "x", Digest: d, Size: int64(len(fmt.Sprint("blob", i)))})
	}
	for i := range n {
		r := recipeOf(manyName(i))
		e := &cache.Entry{Key: r.Key(), Kind: "test", Address: manyName(i), Created: time.Now(), Recipe: r.Text(),
			Output: cache.Output{Digest: blobs[i%len(blobs)].Digest, Blobs: blobs[i%len(blobs):][:1]}}
		if err := s.PutUnsynced(e); err != nil {
			t.Fatal(err)
		}
	}
}

// lookUpMany looks some of n entries up and returns how long each took, sorted.
func lookUpMany(t testing.TB, s *cache.Store, n int) []time.Duration {
	t.Helper()
	took := make([]time.Duration, 10_000)
	for i := range took {
		who := rand.IntN(n)
		key := recipeOf(manyName(who)).Key()
		start := time.Now()
		e, err := s.Get(key)
		took[i] = time.Since(start)
		if err != nil || e.Address != manyName(who) {
			t.Fatalf("%s: %+v, %v", manyName(who), e, err)
		}
	}
	slices.Sort(took)
	return took
}

// TestManyEntries looks up and prunes among many entries. It logs how long that
// took; make bench prints the figures of a million.
func TestManyEntries(t *testing.T) {
	s := openShm(t)
	n := scale(5_000, 1_000_000)
	fillMany(t, s, n)
	took := lookUpMany(t, s, n)
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

// BenchmarkManyEntries has the figures of a store of a million entries: lookups, a
// trim in pieces of two seconds that drops half of them, and a prune of the rest.
func BenchmarkManyEntries(b *testing.B) {
	dir, err := os.MkdirTemp("/dev/shm", "bottlebuild-bench-")
	if err != nil {
		b.Skip("the figures want a file system in memory: ", err)
	}
	defer os.RemoveAll(dir)
	s, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	n := *manyEntries
	fillMany(b, s, n)
	then := time.Now().Add(-40 * 24 * time.Hour)
	for i := range n / 2 {
		h := recipeOf(manyName(i)).Key().Hex()
		if err := os.Chtimes(filepath.Join(s.Dir(), "entries", h[:2], h), then, then); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		took := lookUpMany(b, s, n)
		b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs/lookup-p50")
		b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs/lookup-p99")
		var longest time.Duration
		pieces, removed := 0, 0
		for done := false; !done; pieces++ {
			ctx, cancel := context.WithTimeout(b.Context(), 2*time.Second)
			r, d, err := s.Trim(ctx, cache.PruneOptions{MaxAge: 30 * 24 * time.Hour, MaxSize: -1})
			cancel()
			if err != nil {
				b.Fatal(err)
			}
			done, removed, longest = d, removed+r.Entries, max(longest, r.LongestSlice)
		}
		b.ReportMetric(float64(pieces), "trim-pieces")
		start := time.Now()
		r, err := s.Prune(b.Context(), cache.PruneOptions{All: true, MaxSize: -1})
		if err != nil || r.Entries+removed != n {
			b.Fatalf("%d trimmed and %d pruned, of %d: %v", removed, r.Entries, n, err)
		}
		b.ReportMetric(time.Since(start).Seconds(), "s/prune-half")
		b.ReportMetric(float64(max(longest, r.LongestSlice).Milliseconds()), "ms/longest-slice")
	}
}
