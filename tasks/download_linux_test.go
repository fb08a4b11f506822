package tasks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// origin is a server of one file, which counts what it is asked and what it sends.
type origin struct {
	mu       sync.Mutex
	body     string
	headers  http.Header
	deaf     bool // it does not know of conditions
	requests int
	sent     int // bytes of bodies
}

func (o *origin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests++
	for k, v := range o.headers {
		w.Header()[k] = v
	}
	etag, since := r.Header.Get("If-None-Match"), r.Header.Get("If-Modified-Since")
	if !o.deaf && (etag != "" && etag == o.headers.Get("ETag") || since != "" && since == o.headers.Get("Last-Modified")) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	n, _ := io.WriteString(w, o.body)
	o.sent += n
}

// An unchanged download costs one request that is answered with nothing, where the
// server has said by what it tells; and another content is always seen.
func TestDownloadsAreAskedFor(t *testing.T) {
	long := strings.Repeat("x", 1<<20)
	old := time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
	for _, c := range []struct {
		name    string
		headers http.Header
		deaf    bool
		again   int // bytes that the second look costs
	}{
		{"strong ETag", http.Header{"Etag": {`"one"`}}, false, 0},
		{"Last-Modified", http.Header{"Last-Modified": {old}}, false, 0},
		{"ETag of a server that knows of no conditions", http.Header{"Etag": {`"one"`}}, true, len(long)},
		{"weak ETag", http.Header{"Etag": {`W/"one"`}, "Last-Modified": {old}}, false, len(long)},
		{"modified a moment ago", http.Header{"Last-Modified": {time.Now().UTC().Format(http.TimeFormat)}}, false, len(long)},
		{"nothing", nil, false, len(long)},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := &origin{body: long, headers: c.headers, deaf: c.deaf}
			web := httptest.NewServer(o)
			defer web.Close()
			store := openStore(t)
			// look is what a plan of another process does; only a run saves.
			look := func(save bool) (digest string, requests, sent int) {
				t.Helper()
				w := &Worker{Store: store, Registry: &registry.Client{Transport: http.DefaultTransport}}
				o.requests, o.sent = 0, 0
				d, err := w.lookUp(t.Context(), Pin{PinHTTP, web.URL + "/x"})
				if err != nil {
					t.Fatal(err)
				}
				if save {
					must(t, w.SaveDownloads())
				}
				return d, o.requests, o.sent
			}
			want := cache.DigestOf([]byte(long)).String()
			for range 2 { // nothing is saved by a plan
				if d, requests, sent := look(false); d != want || requests != 1 || sent != len(long) {
					t.Fatalf("before anything is known: %s by %d requests and %d bytes", d, requests, sent)
				}
			}
			look(true)
			if d, requests, sent := look(true); d != want || requests != 1 || sent != c.again {
				t.Errorf("unchanged: %s by %d requests and %d bytes, not 1 and %d", d, requests, sent, c.again)
			}
			o.body = "two"
			if !c.deaf {
				o.headers = http.Header{"Etag": {`"two"`}}
			}
			if d, _, _ := look(true); d != cache.DigestOf([]byte("two")).String() {
				t.Errorf("another content: %s", d)
			}
		})
	}
}

// What is known of a download is never taken for what it is now.
func TestDownloadsWithoutNetwork(t *testing.T) {
	o := &origin{body: "one", headers: http.Header{"Etag": {`"one"`}}}
	web := httptest.NewServer(o)
	store := openStore(t)
	w := &Worker{Store: store, Registry: &registry.Client{Transport: http.DefaultTransport}}
	p := Pin{PinHTTP, fmt.Sprintf("%s/x?token=%s", web.URL, "hunter2")}
	_, err := w.lookUp(t.Context(), p)
	must(t, err)
	must(t, w.SaveDownloads())
	web.Close()
	if d, err := w.lookUp(t.Context(), p); !errors.Is(err, registry.ErrUnavailable) || !strings.Contains(err.Error(), "bottlebuild lock") {
		t.Errorf("without its server: %s, error %v", d, err)
	}
	recipe, err := store.Recipe(downloadRecipe(p.Name).Key())
	must(t, err)
	if strings.Contains(recipe, "hunter2") {
		t.Errorf("the URL stands in the cache:\n%s", recipe)
	}
}
