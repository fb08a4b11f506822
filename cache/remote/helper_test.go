package remote

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"bottlebuild/cache"
)

// Most tests wait for what the network does not do, so more of them than there
// are processors run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(victimVariable) != "" {
		if err := victim(flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if err := flag.Set("test.parallel", "32"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// world is a registry in this process, what comes between, and machines.
type world struct {
	t       *testing.T
	handler http.Handler // the registry itself
	host    string

	mu    sync.Mutex
	fault func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
	seen  []string                                          // "GET blobs", see operation
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	s := httptest.NewServer(w)
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.host = u.Host
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	fault := w.fault
	w.seen = append(w.seen, operation(r))
	w.mu.Unlock()
	if fault != nil && fault(rw, r) {
		return
	}
	w.handler.ServeHTTP(rw, r)
}

// inject sets what comes between from now on, nil for nothing.
func (w *world) inject(fault func(http.ResponseWriter, *http.Request) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault, w.seen = fault, nil
}

// count returns how many requests of an operation there were since inject.
func (w *world) count(op string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.seen {
		if s == op {
			n++
		}
	}
	return n
}

// operation tells what a request is for.
func operation(r *http.Request) string {
	p := r.URL.Path
	switch {
	case p == "/v2/":
		return "ping"
	case strings.Contains(p, "/manifests/ac-"):
		return r.Method + " record"
	case strings.Contains(p, "/manifests/ix-"):
		return r.Method + " index"
	case strings.Contains(p, "/manifests/"):
		return r.Method + " manifest"
	case strings.Contains(p, "/blobs/uploads"):
		return r.Method + " upload"
	case strings.Contains(p, "/blobs/"):
		return r.Method + " blob"
	}
	return r.Method + " " + p
}

// machine is a store and a shared cache over it.
type machine struct {
	*Cache
	store *cache.Store
	dir   string

	mu      sync.Mutex
	notices []string
}

func (m *machine) said(text string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.notices, func(s string) bool { return strings.Contains(s, text) })
}

// machine returns a new machine; change may change its configuration.
func (w *world) machine(change func(*Config)) *machine {
	w.t.Helper()
	return w.machineIn(w.t.TempDir(), change)
}

func (w *world) machineIn(dir string, change func(*Config)) *machine {
	w.t.Helper()
	store, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		w.t.Fatal(err)
	}
	m := &machine{store: store, dir: dir}
	conf := Config{
		Store: store, Dir: filepath.Join(dir, "remote"), Project: "test", Platform: "linux/amd64", Builder: "test",
		Remotes: []Remote{{Prefix: w.host + "/acme", Mode: Mode{Read: true, Write: true}, Scope: Trusted}},
		Notice: func(text string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.notices = append(m.notices, text)
		},
	}
	if change != nil {
		change(&conf)
	}
	if m.Cache, err = New(conf); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { m.Close(); store.Close() })
	return m.patient(time.Minute)
}

// patient sets for how long registries may be silent.
func (m *machine) patient(patience time.Duration) *machine {
	for _, r := range m.repos {
		r.client.health.limits = limits{silence: patience, slow: time.Minute, long: time.Minute}
	}
	return m
}

// make puts an entry of several blobs into the machine's store.
func (m *machine) make(t *testing.T, name string, blobs ...string) *cache.Entry {
	t.Helper()
	r := cache.NewRecipe("pack")
	r.Add("name", name)
	e := &cache.Entry{Key: r.Key(), Kind: "pack", Address: "bottle." + name, Recipe: r.Text(), Created: time.Now().UTC(), Seconds: 3}
	for i, b := range blobs {
		d, err := m.store.PutBytes([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		e.Output.Blobs = append(e.Output.Blobs, cache.Blob{Name: fmt.Sprint("part", i), Digest: d, Size: int64(len(b))})
	}
	e.Output.Digest = cache.DigestOf([]byte(name + strings.Join(blobs, "\x00")))
	e.Partial = cache.Key(cache.DigestOf([]byte("partial of " + name)))
	if err := m.store.Put(e); err != nil {
		t.Fatal(err)
	}
	return e
}

// publish sends entries and waits.
func (m *machine) publish(ctx context.Context, entries ...*cache.Entry) {
	for _, e := range entries {
		m.Publish(e)
	}
	m.Flush(ctx)
}

type silent struct{}

func (silent) Bytes(string, int64, int64) {}
func (silent) Done(error)                 {}

// fetch brings an entry's blobs and compares them with what was made.
func (m *machine) fetch(ctx context.Context, e *cache.Entry) error {
	if err := m.Fetch(ctx, e.Output.Blobs, func(string) Step { return silent{} }); err != nil {
		return err
	}
	for _, b := range e.Output.Blobs {
		if err := m.store.HasBlob(b.Digest, b.Size); err != nil {
			return fmt.Errorf("fetch said that it is there: %w", err)
		}
		if err := m.store.VerifyBlob(b.Digest); err != nil {
			return fmt.Errorf("fetch left other content: %w", err)
		}
	}
	return nil
}

// makeImage puts the entry of an image of one layer into the machine's store.
func (m *machine) makeImage(t *testing.T, name string) *cache.Entry {
	t.Helper()
	img, err := random.Image(1000, 1)
	if err != nil {
		t.Fatal(err)
	}
	img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers", DiffIDs: diffIDs(t, img)}})
	if err != nil {
		t.Fatal(err)
	}
	img = mutate.MediaType(mutate.ConfigMediaType(img, types.OCIConfigJSON), types.OCIManifestSchema1)
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	body, err := layers[0].Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	layer, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	e := m.make(t, name, string(raw), string(config), string(layer))
	for i, mediaType := range []types.MediaType{types.OCIManifestSchema1, types.OCIConfigJSON, types.DockerLayer} {
		e.Output.Blobs[i].MediaType = string(mediaType)
	}
	e.Kind = "image"
	r := cache.NewRecipe("image")
	r.Add("name", name)
	e.Key, e.Recipe = r.Key(), r.Text()
	e.Output.Digest, e.Output.Attrs = e.Output.Blobs[0].Digest, map[string]string{"platform": "linux/amd64"}
	if err := m.store.Put(e); err != nil {
		t.Fatal(err)
	}
	return e
}

func diffIDs(t *testing.T, img v1.Image) []v1.Hash {
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	return c.RootFS.DiffIDs
}
