package registry

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"

	"bottlebuild/cache"
)

// front is a server that answers for a Server, less what intercept answers.
func front(t *testing.T, srv *Server, intercept func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !intercept(w, r) {
			srv.handle(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return strings.TrimPrefix(h.URL, "http://") + "/" + srv.Repository()
}

// login is a keychain with one account for one host.
type login struct{ host, user, password string }

func (l login) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if r.RegistryStr() != l.host {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(authn.AuthConfig{Username: l.user, Password: l.password}), nil
}

func TestPasswords(t *testing.T) {
	file := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(file, []byte("user:$2a$04$WBGsy700zl8zRPDL77ABlOocml5VycnBCnlEvRD55ZoPOq7OkoQjW\n"), 0o600); err != nil { // "pass"
		t.Fatal(err)
	}
	addr := dockerRegistry(t, fmt.Sprintf("auth:\n  htpasswd: {realm: test, path: %s}\n", file))
	s := newStore(t)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	c, _ := newClient(t, s)
	target := Target{Registry: addr, Repository: "app", Tags: []string{"dev"}}
	for _, keychain := range []authn.Keychain{nil, login{addr, "user", "wrong"}, login{"elsewhere.example.com", "user", "pass"}} {
		c.Keychain = keychain
		_, err := c.Push(t.Context(), cache.Output{Digest: desc.Digest}, target, discard)
		if err == nil || !strings.Contains(err.Error(), "docker login "+addr) || errors.Is(err, ErrUnavailable) {
			t.Errorf("push as %v: %v", keychain, err)
		}
		if err != nil && strings.Contains(err.Error(), "wrong") {
			t.Errorf("the password shows: %v", err)
		}
	}
	c.Keychain = login{addr, "user", "pass"}
	if _, err := c.Push(t.Context(), cache.Output{Digest: desc.Digest}, target, discard); err != nil {
		t.Fatal(err)
	}
	reader, _ := newClient(t, newStore(t))
	reader.Keychain = c.Keychain
	d, err := reader.Resolve(t.Context(), addr+"/app:dev", false)
	if err != nil || d != desc.Digest {
		t.Fatalf("%s, %v", d, err)
	}
	if _, err := reader.Pull(t.Context(), addr+"/app:dev", d, "linux/amd64", discard); err != nil {
		t.Error(err)
	}
}

// A token is asked for with the scopes that mounts need, and goes nowhere else.
func TestTokens(t *testing.T) {
	s := newStore(t)
	srv := serve(t, newStore(t))
	var mu sync.Mutex
	var scopes []string
	var refuseMounts, leaked atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		leaked.Store(leaked.Load() || r.Header.Get("Authorization") != "")
		srv.handle(w, r)
	}))
	t.Cleanup(other.Close)
	base := front(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			if r.Header.Get("Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("user:pass")) {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			asked := r.URL.Query()["scope"]
			mu.Lock()
			scopes = append(scopes, asked...)
			mu.Unlock()
			if refuseMounts.Load() && len(asked) > 1 {
				w.WriteHeader(http.StatusForbidden)
				return true
			}
			io.WriteString(w, `{"token":"opaque"}`)
			return true
		case r.Header.Get("Authorization") != "Bearer opaque":
			w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test"`, r.Host))
			w.WriteHeader(http.StatusUnauthorized)
			return true
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			// Another host: redirects between addresses of one machine are taken.
			http.Redirect(w, r, strings.Replace(other.URL, "127.0.0.1", "localhost", 1)+r.URL.Path, http.StatusTemporaryRedirect)
			return true
		}
		return false
	})
	host, prefix, _ := strings.Cut(base, "/")
	desc := save(t, s, smallImage(t, 1, "amd64"))
	c, _ := newClient(t, s)
	c.Keychain = login{host, "user", "pass"}
	img := cache.Output{Digest: desc.Digest}
	if _, err := c.Push(t.Context(), img, Target{Registry: base, Repository: "a"}, discard); err != nil {
		t.Fatal(err)
	}
	push := fmt.Sprintf("repository:%s/a:push,pull", prefix)
	if diff := cmp.Diff([]string{push}, scopes); diff != "" {
		t.Error(diff)
	}
	scopes = nil
	if _, err := c.Push(t.Context(), img, Target{Registry: base, Repository: "b"}, discard); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{fmt.Sprintf("repository:%s/b:push,pull", prefix), fmt.Sprintf("repository:%s/a:pull", prefix)}, scopes); diff != "" {
		t.Error(diff)
	}
	refuseMounts.Store(true)
	if _, err := c.Push(t.Context(), img, Target{Registry: base, Repository: "c"}, discard); err != nil {
		t.Errorf("with the token for mounts refused: %v", err)
	}
	reader, _ := newClient(t, newStore(t))
	reader.Keychain = c.Keychain
	if _, err := reader.Pull(t.Context(), base+"/a", desc.Digest, "linux/amd64", discard); err != nil {
		t.Error(err)
	}
	if leaked.Load() {
		t.Error("the token went to the host that was redirected to")
	}
}

func TestErrorsTellWhatToDo(t *testing.T) {
	s := newStore(t)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	srv := serve(t, newStore(t))
	answer := func(status int) string {
		return front(t, srv, func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v2/" {
				w.WriteHeader(status)
			}
			return r.URL.Path != "/v2/"
		})
	}
	const nobody = "127.0.0.1:1" // no server is given a port that low
	for _, c := range []struct {
		name, registry, want string
		unavailable          bool
	}{
		{"unauthorized", answer(401), "run `docker login", false},
		{"forbidden", answer(403), "denied access", false},
		{"not found", answer(404), "create repository", false},
		{"rate limit", answer(429), "limits how often", false},
		{"out of service", answer(503), "out of service", true},
		{"broken", answer(500), "500", false},
		{"nobody there", nobody, "cannot reach " + nobody, true},
		{"no such host", "registry.invalid", "cannot reach registry.invalid", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, _ := newClient(t, s)
			_, err := client.Push(t.Context(), cache.Output{Digest: desc.Digest}, Target{Registry: c.registry, Repository: "app"}, discard)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, ErrUnavailable) != c.unavailable {
				t.Errorf("%v", err)
			}
		})
	}
}

// Beyond loopback, plain http and unknown certificates need to be asked for.
func TestInsecure(t *testing.T) {
	srv := serve(t, newStore(t))
	s := newStore(t)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	plain := httptest.NewServer(http.HandlerFunc(srv.handle))
	secured := httptest.NewUnstartedServer(http.HandlerFunc(srv.handle))
	secured.Config.ErrorLog = srv.http.ErrorLog
	secured.StartTLS()
	for _, c := range []struct {
		name, addr, host, want string
	}{
		{"http", plain.Listener.Addr().String(), "registry.example.com", "insecure = true"},
		// The library would try http by itself on a private address.
		{"http on a private address", plain.Listener.Addr().String(), "10.1.2.3", "insecure = true"},
		{"unknown certificate", secured.Listener.Addr().String(), "registry.example.com", "certificate"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, network, c.addr)
			}}
			client := &Client{Transport: tr, Store: s}
			target := Target{Registry: c.host + "/" + srv.Repository(), Repository: "app"}
			_, err := client.Push(t.Context(), cache.Output{Digest: desc.Digest}, target, discard)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "insecure = true") {
				t.Errorf("secure: %v", err)
			}
			target.Insecure = true
			if _, err := client.Push(t.Context(), cache.Output{Digest: desc.Digest}, target, discard); err != nil {
				t.Errorf("insecure: %v", err)
			}
			client.Insecure = map[string]bool{c.host: true}
			if _, err := client.Pull(t.Context(), target.Registry+"/app", desc.Digest, "linux/amd64", discard); err != nil {
				t.Errorf("insecure by host: %v", err)
			}
			tr.CloseIdleConnections()
			client.unchecked.(*http.Transport).CloseIdleConnections()
		})
	}
	plain.Close()
	secured.Close()
}

// A pause that a registry asks for ends with the context.
func TestCancelEndsPauses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	base := front(t, serve(t, newStore(t)), func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/v2/" {
			return false
		}
		w.Header().Set("Retry-After", "3600")
		w.WriteHeader(http.StatusTooManyRequests)
		cancel()
		return true
	})
	c, _ := newClient(t, newStore(t))
	if _, err := c.Resolve(ctx, base+"/app:dev", false); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
