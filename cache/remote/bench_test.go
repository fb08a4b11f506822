package remote

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"bottlebuild/cache"
)

const (
	benchKeys  = 10_000
	benchRound = 50 * time.Millisecond // round-trip
)

// BenchmarkLookups looks 10,000 keys up, all at once, in a registry that is a
// round-trip of 50 ms away, as a plan of a wide graph does. Records are signed.
func BenchmarkLookups(b *testing.B) {
	key, err := GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	store, err := cache.Open(filepath.Join(b.TempDir(), "cache"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	far := &distant{records: map[string][]byte{}}
	server := httptest.NewServer(far)
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	var keys []cache.Key
	index := newKnown()
	for i := range benchKeys {
		r := cache.NewRecipe("pack")
		r.Add("name", fmt.Sprint(i))
		r.AddDigest("image", cache.DigestOf([]byte(fmt.Sprint("image", i))))
		e := &cache.Entry{Key: r.Key(), Kind: "pack", Address: fmt.Sprintf("bottle.b[%d].pack", i), Recipe: r.Text(), Created: time.Now().UTC()}
		e.Output.Digest = cache.DigestOf([]byte(e.Address))
		e.Output.Blobs = []cache.Blob{{Name: "sidecar", MediaType: "application/vnd.smolvm.pack", Digest: e.Output.Digest, Size: 100 << 20}}
		payload, err := encodeStatement(e, "linux/amd64", Builder{ID: "bench", Scope: Trusted})
		if err != nil {
			b.Fatal(err)
		}
		env, err := seal(payload, key)
		if err != nil {
			b.Fatal(err)
		}
		u, err := prepare(store, e, env)
		if err != nil {
			b.Fatal(err)
		}
		far.records[recordTag(e.Key)] = u.record.raw
		index.records[e.Key] = knownRecord{envelope: env}
		keys = append(keys, e.Key)
	}
	content, err := index.encode()
	if err != nil {
		b.Fatal(err)
	}
	machine := func(dir string, lookOnly bool) *Cache {
		c, err := New(Config{
			Store: store, Dir: dir, Project: "bench", LookOnly: lookOnly,
			Remotes: []Remote{{Prefix: host + "/acme", Mode: Mode{Read: true}, Scope: Trusted, Trust: Trust{Keys: []PublicKey{key.Public()}}}},
		})
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	look := func(b *testing.B, c *Cache, keys []cache.Key, hits bool) {
		var g sync.WaitGroup
		for _, k := range keys {
			g.Go(func() {
				if _, err := c.Find(context.Background(), k); hits && err != nil || !hits && (!errors.Is(err, cache.ErrMiss) || errors.Is(err, cache.ErrUncertain)) {
					b.Error(err)
				}
			})
		}
		g.Wait()
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
	unknown := make([]cache.Key, benchKeys)
	for i := range unknown {
		unknown[i] = cache.Key(cache.DigestOf([]byte(fmt.Sprint("unknown", i))))
	}
	for _, row := range []struct {
		name  string
		keys  []cache.Key
		index bool
		again bool
	}{
		{"cold/no-index", keys, false, false},
		{"cold/index", keys, true, false},
		{"cold/index-and-1000-unknown", append(unknown[:1000:1000], keys[1000:]...), true, false},
		{"cold/misses", unknown, false, false},
		{"again/hits", keys, false, true},
		{"again/misses", unknown, false, true},
	} {
		b.Run(row.name, func(b *testing.B) {
			far.setIndex(content, row.index)
			for b.Loop() {
				b.StopTimer()
				dir := b.TempDir()
				if row.again {
					look(b, machine(dir, true), row.keys, row.keys[0] == keys[0])
				}
				far.asked()
				b.StartTimer()
				if strings.HasPrefix(row.name, "cold/index-") {
					var g sync.WaitGroup
					c := machine(dir, true)
					for _, k := range row.keys {
						g.Go(func() { _, _ = c.Find(context.Background(), k) })
					}
					g.Wait()
					_ = c.Close()
				} else {
					look(b, machine(dir, true), row.keys, row.keys[0] == keys[0])
				}
			}
			b.ReportMetric(float64(far.asked()), "requests")
			b.ReportMetric(float64(len(content)), "index-bytes")
		})
	}
}

// BenchmarkDead is what a registry costs that takes connections and says nothing.
func BenchmarkDead(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	store, err := cache.Open(filepath.Join(b.TempDir(), "cache"))
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	for b.Loop() {
		c, err := New(Config{Store: store, Dir: b.TempDir(), Project: "bench",
			Remotes: []Remote{{Prefix: l.Addr().String() + "/acme", Mode: Mode{Read: true, Write: true}, Scope: Trusted}}})
		if err != nil {
			b.Fatal(err)
		}
		var g sync.WaitGroup
		for i := range benchKeys {
			g.Go(func() {
				if _, err := c.Find(context.Background(), cache.Key(cache.DigestOf([]byte(fmt.Sprint(i))))); !errors.Is(err, cache.ErrUncertain) {
					b.Error(err)
				}
			})
		}
		g.Wait()
		c.Flush(context.Background())
		if err := c.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// distant is a registry of records that is far away.
type distant struct {
	records map[string][]byte // by tag

	mu    sync.Mutex
	index []byte // nil: there is none
	n     int
}

func (d *distant) setIndex(content []byte, there bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index = nil
	if there {
		d.index = content
	}
}

// asked returns how many requests there were since it was last called.
func (d *distant) asked() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.n
	d.n = 0
	return n
}

func (d *distant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(benchRound)
	d.mu.Lock()
	d.n++
	index := d.index
	d.mu.Unlock()
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	body, ok := d.records[name]
	switch {
	case r.URL.Path == "/v2/":
		ok = true
	case index != nil && strings.HasPrefix(name, "ix-"):
		m, err := indexManifest(index, time.Now())
		body, ok = m.raw, err == nil
	case index != nil && strings.Contains(r.URL.Path, "/blobs/"):
		body, ok = index, true
	}
	if !ok {
		http.NotFound(w, r)
		return
	}
	_, _ = w.Write(body)
}
