package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
)

// TestResume: a download that is cut goes on where it was.
func TestResume(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	content := strings.Repeat("0123456789abcdef", 1<<16) // 1 MiB
	e := one.make(t, "web", content)
	one.publish(ctx, e)
	var mu sync.Mutex
	var ranges []string
	sent := 0
	w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, e.Output.Blobs[0].Digest.Hex()) {
			return false
		}
		mu.Lock()
		defer mu.Unlock()
		ranges = append(ranges, r.Header.Get("Range"))
		from := 0
		if spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			from, _ = strconv.Atoi(strings.TrimSuffix(spec, "-"))
			rw.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(content)-1, len(content)))
		}
		rw.Header().Set("Content-Length", strconv.Itoa(len(content)-from))
		if from > 0 {
			rw.WriteHeader(http.StatusPartialContent)
		}
		part := content[from:min(from+400_000, len(content))]
		n, _ := rw.Write([]byte(part))
		sent += n
		if from+n < len(content) {
			panic(http.ErrAbortHandler)
		}
		return true
	})
	two := w.machine(nil)
	if _, err := two.Find(ctx, e.Key); err != nil {
		t.Fatal(err)
	}
	if err := two.fetch(ctx, e); err != nil {
		t.Fatal(err)
	}
	mu.Lock() // the last request may not have returned yet
	defer mu.Unlock()
	if len(ranges) != 3 || ranges[0] != "" || ranges[2] == "" {
		t.Errorf("it asked for ranges %q", ranges)
	}
	// What was in flight when the connection broke may be sent again.
	if sent > len(content)*5/4 {
		t.Errorf("%d bytes were sent for %d", sent, len(content))
	}
}

// TestTokenExpires: a token that is refused in the middle is exchanged for a new one.
func TestTokenExpires(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t)
	var mu sync.Mutex
	left := map[string]int{} // requests that are granted, by token
	w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			token := fmt.Sprintf("t%d", len(left))
			left[token] = 5
			fmt.Fprintf(rw, `{"token":%q}`, token)
			return true
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if left[token] == 0 {
			rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, w.host))
			rw.WriteHeader(http.StatusUnauthorized)
			return true
		}
		left[token]--
		return false
	})
	one := w.machine(nil)
	e := one.make(t, "web", "one", "two", "three", strings.Repeat("x", 1<<20))
	one.publish(ctx, e)
	two := w.machine(nil)
	got, err := two.Find(ctx, e.Key)
	if err != nil {
		t.Fatalf("%v; notices: %q", err, one.notices)
	}
	if err := two.fetch(ctx, got); err != nil {
		t.Fatal(err)
	}
	if len(left) < 4 {
		t.Errorf("%d tokens were issued", len(left))
	}
}

// TestRedirect: what a registry keeps elsewhere is fetched from there, and no
// credential goes along.
func TestRedirect(t *testing.T) {
	for _, scheme := range []string{"Basic", "Bearer"} {
		t.Run(scheme, func(t *testing.T) {
			ctx := context.Background()
			w := newWorld(t)
			elsewhere := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				for name := range r.Header {
					if name == "Authorization" || name == "Cookie" {
						t.Errorf("%s was sent to another host", name)
					}
				}
				w.handler.ServeHTTP(rw, r)
			}))
			defer elsewhere.Close()
			redirected := 0
			w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
				switch auth := r.Header.Get("Authorization"); {
				case r.URL.Path == "/token":
					fmt.Fprint(rw, `{"token":"secret"}`)
				case !strings.HasPrefix(auth, scheme+" "):
					rw.Header().Set("WWW-Authenticate", fmt.Sprintf(`%s realm="http://%s/token",service="test"`, scheme, w.host))
					rw.WriteHeader(http.StatusUnauthorized)
				case operation(r) == "GET blob":
					redirected++
					http.Redirect(rw, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
				default:
					return false
				}
				return true
			})
			one := w.machine(func(c *Config) { c.Keychain = keychain{} })
			e := one.make(t, "web", "content")
			one.publish(ctx, e)
			two := w.machine(func(c *Config) { c.Keychain = keychain{} })
			got, err := two.Find(ctx, e.Key)
			if err != nil {
				t.Fatalf("%v; notices: %q", err, one.notices)
			}
			if err := two.fetch(ctx, got); err != nil {
				t.Fatal(err)
			}
			if redirected == 0 {
				t.Error("nothing was redirected")
			}
		})
	}
}

type keychain struct{}

func (keychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: "user", Password: "password"}, nil
}
