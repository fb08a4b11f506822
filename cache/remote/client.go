package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	ggcr "github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// TLS says how a registry is spoken to.
type TLS struct {
	// Config has the certificate authorities and the client's certificate; nil:
	// the system's, and none.
	Config *tls.Config
	// Insecure allows plain http, and certificates that cannot be checked.
	// Loopback may always be spoken to in plain http.
	Insecure bool
}

// connections bounds how many requests of one registry are under way at once.
const connections = 256

// client does the requests of one repository.
type client struct {
	repo     name.Repository
	keychain authn.Keychain
	base     http.RoundTripper
	insecure bool
	health   *health

	mu     sync.Mutex
	scopes map[string]*session // by the access asked for: pull, or push and pull
}

// session is an open connection: credentials have been exchanged for a token
// where the registry wants that.
type session struct {
	http   *http.Client
	pusher *ggcr.Pusher
}

func newClient(repo name.Repository, keychain authn.Keychain, t TLS, h *health) *client {
	base := ggcr.DefaultTransport.(*http.Transport).Clone()
	base.MaxIdleConns, base.MaxIdleConnsPerHost, base.MaxConnsPerHost = connections, connections, connections
	base.TLSHandshakeTimeout, base.ResponseHeaderTimeout = 10*time.Second, 0 // health watches over silence
	if t.Config != nil {
		base.TLSClientConfig = t.Config.Clone()
	}
	if t.Insecure {
		if base.TLSClientConfig == nil {
			base.TLSClientConfig = &tls.Config{}
		}
		base.TLSClientConfig.InsecureSkipVerify = true
	}
	return &client{repo: repo, keychain: keychain, base: base, insecure: t.Insecure, health: h, scopes: map[string]*session{}}
}

// close gives idle connections back.
func (c *client) close() {
	if t, ok := c.base.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

// session returns the connection for an access: transport.PullScope or PushScope.
func (c *client) session(ctx context.Context, scope string) (*session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.scopes[scope]; s != nil {
		return s, nil
	}
	auth := authn.Anonymous
	if c.keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, c.keychain, c.repo); err != nil {
			return nil, fmt.Errorf("find credentials for %s: %w", c.repo.RegistryStr(), err)
		}
	}
	guarded := transport.NewUserAgent(guard{c.base, c.insecure, c.health}, "bottlebuild")
	t, err := transport.NewWithContext(ctx, c.repo.Registry, auth, guarded, []string{c.repo.Scope(scope)})
	if err != nil {
		return nil, err
	}
	s := &session{http: &http.Client{Transport: t}}
	// The library's pauses do not end with the context, so it repeats nothing.
	s.pusher, err = ggcr.NewPusher(ggcr.WithTransport(t), ggcr.WithRetryBackoff(ggcr.Backoff{Steps: 1}), ggcr.WithNondistributable)
	if err != nil {
		return nil, err
	}
	c.scopes[scope] = s
	return s, nil
}

// guard keeps requests from leaving unprotected, those after a redirect as well,
// and notes for how long a registry wants to be left alone.
type guard struct {
	inner    http.RoundTripper
	insecure bool
	health   *health
}

var errPlainHTTP = errors.New("refused to speak plain http")

func (g guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !g.insecure && !loopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%w to %s", errPlainHTTP, r.URL.Host)
	}
	resp, err := g.inner.RoundTrip(r)
	if err == nil && (resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable) {
		g.health.leaveAlone(retryAfter(resp.Header.Get("Retry-After")))
	}
	return resp, err
}

// retryAfter reads that header: seconds, or a time.
func retryAfter(value string) time.Duration {
	if s, err := strconv.ParseUint(value, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return time.Until(at)
	}
	return 0
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// answerError is an answer other than the one that was hoped for.
type answerError struct{ status int }

func (e *answerError) Error() string {
	return fmt.Sprintf("it answered %d %s", e.status, http.StatusText(e.status))
}

func answered(resp *http.Response) error {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // for the connection to be used again
	return &answerError{resp.StatusCode}
}

// status returns the status that err comes from, 0 if it is no answer.
func status(err error) int {
	var own *answerError
	var theirs *transport.Error
	switch {
	case errors.As(err, &own):
		return own.status
	case errors.As(err, &theirs):
		return theirs.StatusCode
	}
	return 0
}

// passes reports whether a failure may be gone on the next try.
func passes(err error) bool {
	switch s := status(err); {
	case s == http.StatusRequestTimeout, s == http.StatusTooManyRequests, s >= 500:
		return true
	case s != 0:
		return false
	}
	return !errors.Is(err, errPlainHTTP) && !errors.Is(err, errGivenUp) && !certificateFault(err)
}

func certificateFault(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate)
}

// refuses reports whether an answer means that nothing will be had of this
// registry at all.
func refuses(err error) bool {
	s := status(err)
	return s == http.StatusUnauthorized || s == http.StatusForbidden || errors.Is(err, errPlainHTTP) || certificateFault(err)
}

const manifestTypes = string(types.OCIManifestSchema1) + "," + string(types.OCIImageIndex)

// request does a GET of something of the repository. The caller closes the body.
func (c *client) request(ctx context.Context, scope, kind, ref string, header http.Header) (*http.Response, error) {
	return c.send(ctx, http.MethodGet, scope, kind, ref, header)
}

// send does a request without a body. The caller closes that of the answer.
func (c *client) send(ctx context.Context, method, scope, kind, ref string, header http.Header) (*http.Response, error) {
	s, err := c.session(ctx, scope)
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: c.repo.Scheme(), Host: c.repo.RegistryStr(), Path: "/v2/" + c.repo.RepositoryStr() + "/" + kind + "/" + ref}
	u.Path, u.RawQuery, _ = strings.Cut(u.Path, "?")
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	return s.http.Do(req)
}

// getManifest returns the manifest of a tag or digest; at most maxManifest bytes.
func (c *client) getManifest(ctx context.Context, scope, ref string) ([]byte, error) {
	if err := c.health.rest(ctx, lookupPause); err != nil {
		return nil, err
	}
	ctx, alive, done := c.health.watch(ctx)
	defer done()
	resp, err := c.request(ctx, scope, "manifests", ref, http.Header{"Accept": {manifestTypes}})
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	alive()
	if resp.StatusCode != http.StatusOK {
		return nil, answered(resp)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	switch {
	case err != nil:
		return nil, cause(ctx, err)
	case len(b) > maxManifest:
		return nil, fmt.Errorf("manifest %s is over %d bytes", ref, maxManifest)
	}
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != cache.DigestOf(b).String() {
		return nil, fmt.Errorf("manifest %s: %w", ref, errWrongContent)
	}
	return b, nil
}

// cause prefers why ctx has ended to what that looked like.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var u *url.Error
	if errors.As(err, &u) { // its URL may hold an upload's state or a signature
		return u.Err
	}
	return err
}
