package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"bottlebuild/cache"
)

// Client pulls images into the store and pushes them from it. It may be used by
// several goroutines at once; do not copy it.
type Client struct {
	// Keychain finds credentials; nil: none are sent.
	Keychain authn.Keychain
	// Transport does the requests; nil: that of go-containerregistry, which goes
	// through the proxies that the environment names. Where certificates are not
	// to be checked, a clone of it is used, if it is an [*http.Transport].
	Transport http.RoundTripper
	// Store holds the blobs.
	Store *cache.Store
	// Insecure names the hosts ("registry.local:5000") which may be spoken to in
	// plain http, or whose certificate is not checked. Loopback needs no mention.
	Insecure map[string]bool

	mu        sync.Mutex
	pullers   map[session]*remote.Puller
	unchecked http.RoundTripper // Transport without the check of certificates
	pause     time.Duration     // before the first repetition; 0: one second
}

// session is what a connection for pulling is kept for.
type session struct {
	repository string
	insecure   bool
}

// Resolve returns the digest of the manifest or index that an image reference
// stands for. A reference with a digest needs no network. insecure allows plain
// http and certificates that cannot be checked.
func (c *Client) Resolve(ctx context.Context, ref string, insecure bool) (cache.Digest, error) {
	r, err := parseReference(ref)
	if err != nil {
		return cache.Digest{}, err
	}
	if d, ok := r.(name.Digest); ok {
		return cache.ParseDigest(d.DigestStr())
	}
	return c.resolve(ctx, r, insecure)
}

func (c *Client) resolve(ctx context.Context, r name.Reference, insecure bool) (cache.Digest, error) {
	var digest string
	err := c.retry(ctx, func(ctx context.Context) error {
		p, err := c.puller(ctx, r.Context(), insecure)
		if err != nil {
			return err
		}
		digest, err = headOrGet(ctx, p, r)
		return err
	})
	if err != nil {
		return cache.Digest{}, explain("resolve", r.Name(), r.Context(), err)
	}
	return cache.ParseDigest(digest)
}

// headOrGet returns the digest that a reference stands for. Not all registries
// answer HEAD, or not with a digest; GET costs more against the limits of some.
func headOrGet(ctx context.Context, p *remote.Puller, r name.Reference) (digest string, err error) {
	desc, err := p.Head(ctx, r)
	if err == nil {
		return desc.Digest.String(), nil
	}
	var answer *transport.Error
	if ctx.Err() != nil || networkFailure(err) || errors.As(err, &answer) && answer.StatusCode != http.StatusMethodNotAllowed && answer.StatusCode != http.StatusBadRequest {
		return "", err
	}
	got, err := p.Get(ctx, r)
	if err != nil {
		return "", err
	}
	return got.Digest.String(), nil
}

func parseReference(ref string) (name.Reference, error) {
	r, err := name.ParseReference(ref)
	if err != nil {
		return nil, fmt.Errorf("image reference %.300q: %w", ref, err)
	}
	return r, nil
}

// puller returns a connection for pulling from repo; credentials have been
// exchanged for a token where the registry wants that.
func (c *Client) puller(ctx context.Context, repo name.Repository, insecure bool) (*remote.Puller, error) {
	insecure = insecure || c.Insecure[repo.RegistryStr()]
	key := session{repo.Name(), insecure}
	c.mu.Lock()
	p := c.pullers[key]
	c.mu.Unlock()
	if p != nil {
		return p, nil
	}
	t, err := c.connect(ctx, repo, insecure, repo.Scope(transport.PullScope))
	if err != nil {
		return nil, err
	}
	if p, err = remote.NewPuller(libraryOptions(t)...); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pullers == nil {
		c.pullers = map[session]*remote.Puller{}
	}
	c.pullers[key] = p
	return p, nil
}

// libraryOptions are those under which the library repeats nothing by itself:
// its pauses do not end with the context.
func libraryOptions(t http.RoundTripper) []remote.Option {
	return []remote.Option{
		remote.WithTransport(t),
		remote.WithRetryBackoff(remote.Backoff{Steps: 1}),
		remote.WithNondistributable,
	}
}

// connect asks a registry how it wants to be spoken to and returns a transport
// that does so, with credentials for the scopes.
func (c *Client) connect(ctx context.Context, repo name.Repository, insecure bool, scopes ...string) (http.RoundTripper, error) {
	registry := repo.Registry
	if insecure {
		var err error
		if registry, err = name.NewRegistry(registry.RegistryStr(), name.Insecure); err != nil {
			return nil, err
		}
	}
	auth := authn.Anonymous
	if c.Keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, c.Keychain, repo); err != nil {
			return nil, fmt.Errorf("find credentials for %s: %w", registry, err)
		}
	}
	guarded := &guard{inner: c.transport(insecure), insecure: insecure}
	return transport.NewWithContext(ctx, registry, auth, transport.NewUserAgent(guarded, "bottlebuild"), scopes)
}

func (c *Client) transport(insecure bool) http.RoundTripper {
	t := cmp.Or(c.Transport, remote.DefaultTransport)
	plain, ok := t.(*http.Transport)
	if !insecure || !ok {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.unchecked == nil {
		clone := plain.Clone()
		if clone.TLSClientConfig == nil {
			clone.TLSClientConfig = &tls.Config{}
		}
		clone.TLSClientConfig.InsecureSkipVerify = true
		c.unchecked = clone
	}
	return c.unchecked
}
