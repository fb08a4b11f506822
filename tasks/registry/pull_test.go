package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bottlebuild/cache"
)

func TestPullAndConfig(t *testing.T) {
	origin := newStore(t)
	amd, arm := smallImage(t, 1, "amd64"), smallImage(t, 20, "arm64")
	desc := save(t, origin, index(t, map[string]v1.Image{"amd64": amd, "arm64": arm}))
	srv := serve(t, origin)
	if _, err := srv.Publish("base", desc, "22"); err != nil {
		t.Fatal(err)
	}
	ref := srv.Addr() + "/" + srv.Repository() + "/base:22"
	s := newStore(t)
	c, count := newClient(t, s)
	d, err := c.Resolve(t.Context(), ref, false)
	if err != nil || d != desc.Digest {
		t.Fatalf("%s, %v", d, err)
	}
	config, m, err := c.Config(t.Context(), ref, d, "linux/arm64")
	if err != nil {
		t.Fatal(err)
	}
	want, err := arm.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	armDigest, err := arm.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if string(config) != string(want) || m.String() != armDigest.String() {
		t.Errorf("config %s of %s", config, m)
	}
	out, err := c.Pull(t.Context(), ref, d, "linux/arm64", discard)
	if err != nil {
		t.Fatal(err)
	}
	fromOrigin, err := ReadImage(origin, cache.Blob{Digest: m})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fromOrigin, out); diff != "" {
		t.Error(diff)
	}

	count.requests.Store(0)
	if _, _, err := c.Config(t.Context(), ref, d, "linux/arm64"); err != nil {
		t.Error(err)
	}
	if _, err := c.Pull(t.Context(), ref, d, "linux/arm64", discard); err != nil {
		t.Error(err)
	}
	if got, err := c.Resolve(t.Context(), ref+"@"+d.String(), false); err != nil || got != d {
		t.Errorf("%s, %v", got, err)
	}
	if n := count.requests.Load(); n != 0 {
		t.Errorf("what is in the store took %d requests", n)
	}

	damage(t, s, mustBlob(t, out, "config").Digest)
	if got, _, err := c.Config(t.Context(), ref, d, "linux/arm64"); err != nil || string(got) != string(want) {
		t.Errorf("with a damaged config: %s, %v", got, err)
	}
	if _, err := c.Pull(t.Context(), ref, d, "linux/s390x", discard); err == nil || !strings.Contains(err.Error(), "linux/amd64, linux/arm64") {
		t.Errorf("pull for a platform that is not there: %v", err)
	}
	if _, err := c.Pull(t.Context(), ref, m, "linux/amd64", discard); err == nil || !strings.Contains(err.Error(), "is for linux/arm64") {
		t.Errorf("pull of another platform's image: %v", err)
	}
}

func mustBlob(t *testing.T, out cache.Output, name string) cache.Blob {
	t.Helper()
	b, ok := out.Blob(name)
	if !ok {
		t.Fatalf("no %s in %+v", name, out)
	}
	return b
}

// Nothing that a registry makes up gets into the store.
func TestLyingRegistry(t *testing.T) {
	origin := newStore(t)
	desc := save(t, origin, smallImage(t, 1, "amd64"))
	srv := serve(t, origin)
	send := func(w http.ResponseWriter, contentType string, length int, body string) bool {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Docker-Content-Digest", desc.Digest.String())
		w.Header().Set("Content-Length", fmt.Sprint(length))
		io.WriteString(w, body)
		return true
	}
	isManifest := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/manifests/") }
	isBlob := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/")
	}
	for name, lie := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"another manifest": func(w http.ResponseWriter, r *http.Request) bool {
			return isManifest(r) && send(w, desc.MediaType, 2, "{}")
		},
		"an endless manifest": func(w http.ResponseWriter, r *http.Request) bool {
			if !isManifest(r) {
				return false
			}
			w.Header().Set("Content-Type", desc.MediaType)
			for range 2 * maxManifest / 1024 {
				if _, err := io.WriteString(w, strings.Repeat(" ", 1024)); err != nil {
					break
				}
			}
			return true
		},
		"another blob": func(w http.ResponseWriter, r *http.Request) bool {
			return isBlob(r) && send(w, "application/octet-stream", 4, "evil")
		},
		"a blob cut off": func(w http.ResponseWriter, r *http.Request) bool {
			return isBlob(r) && send(w, "application/octet-stream", 5000, "short")
		},
		"an endless blob": func(w http.ResponseWriter, r *http.Request) bool {
			if !isBlob(r) {
				return false
			}
			for {
				if _, err := io.WriteString(w, strings.Repeat("x", 1024)); err != nil {
					return true
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			c, _ := newClient(t, s)
			if _, err := c.Pull(t.Context(), front(t, srv, lie)+"/app", desc.Digest, "linux/amd64", discard); err == nil {
				t.Error("the pull succeeded")
			}
			blobs, err := os.ReadDir(filepath.Join(s.Dir(), "blobs", "sha256"))
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range blobs {
				d, err := cache.ParseDigest("sha256:" + b.Name())
				if err != nil || s.VerifyBlob(d) != nil {
					t.Errorf("the store has a bad blob %s", b.Name())
				}
			}
			if tmp, err := os.ReadDir(filepath.Join(s.Dir(), "tmp")); err != nil || len(tmp) != 0 {
				t.Errorf("left in tmp: %v, %v", tmp, err)
			}
		})
	}
}

func TestPullRepeatsWhatPasses(t *testing.T) {
	origin := newStore(t)
	desc := save(t, origin, smallImage(t, 1, "amd64"))
	srv := serve(t, origin)
	var mu sync.Mutex
	failed := map[string]int{}
	base := front(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		failed[r.URL.Path]++
		switch {
		case failed[r.URL.Path] == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case failed[r.URL.Path] == 2:
			w.Header().Set("Content-Length", "100000")
			panic(http.ErrAbortHandler)
		default:
			return false
		}
		return true
	})
	c, _ := newClient(t, newStore(t))
	if _, err := c.Pull(t.Context(), base+"/app", desc.Digest, "linux/amd64", discard); err != nil {
		t.Error(err)
	}
}

func TestResolveFallsBackToGet(t *testing.T) {
	s := newStore(t)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	srv := serve(t, s)
	if _, err := srv.Publish("app", desc, "dev"); err != nil {
		t.Fatal(err)
	}
	for name, head := range map[string]func(w http.ResponseWriter){
		"not allowed":    func(w http.ResponseWriter) { w.WriteHeader(http.StatusMethodNotAllowed) },
		"without digest": func(w http.ResponseWriter) { w.Header().Set("Content-Type", desc.MediaType) },
	} {
		base := front(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				head(w)
			}
			return r.Method == http.MethodHead
		})
		c, _ := newClient(t, s)
		if d, err := c.Resolve(t.Context(), base+"/app:dev", false); err != nil || d != desc.Digest {
			t.Errorf("%s: %s, %v", name, d, err)
		}
	}
	c, _ := newClient(t, s)
	_, err := c.Resolve(t.Context(), srv.Addr()+"/"+srv.Repository()+"/app:other", false)
	if err == nil || !strings.Contains(err.Error(), "no such image") {
		t.Errorf("unknown tag: %v", err)
	}
	if _, err := c.Resolve(t.Context(), "Not A Reference", false); !errors.As(err, new(*name.ErrBadName)) {
		t.Errorf("bad reference: %v", err)
	}
}
