package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
	"bottlebuild/tasks/progress"
)

// Target is where an image is pushed to.
type Target struct {
	Registry   string // host and path prefix: "registry.example.com/acme"
	Repository string // below the registry: "agent"
	Tags       []string
	Insecure   bool // plain http, or a certificate that cannot be checked
}

// PushResult is what a push did.
type PushResult struct {
	Ref          string // "registry.example.com/acme/agent@sha256:…"
	Digest       cache.Digest
	BlobsPushed  int   // layers and configs that were uploaded
	BlobsSkipped int   // that the repository had
	Mounted      int   // that came from another repository of the registry
	BytesPushed  int64 // of BlobsPushed
}

// repository checks the target's names.
func (t Target) repository() (name.Repository, error) {
	full := strings.TrimSuffix(t.Registry, "/") + "/" + t.Repository
	host, _, _ := strings.Cut(full, "/")
	switch {
	case strings.Contains(t.Registry, "://"):
		return name.Repository{}, fmt.Errorf("registry %q: leave out the scheme; `insecure = true` allows plain http", t.Registry)
	case !strings.ContainsAny(host, ".:") && host != "localhost":
		return name.Repository{}, fmt.Errorf("registry %q: it must start with a host that has a dot or a port, such as docker.io", t.Registry)
	}
	repo, err := name.NewRepository(full, name.StrictValidation)
	if err != nil {
		return name.Repository{}, fmt.Errorf("repository %q: %w", full, err)
	}
	for _, tag := range t.Tags {
		if !isTag(tag) {
			return name.Repository{}, fmt.Errorf("repository %s: %.150q is not a tag", full, tag)
		}
	}
	return repo, nil
}

// ref returns the reference of a manifest there, the way the user wrote the target.
func (t Target) ref(d cache.Digest) string {
	return strings.TrimSuffix(t.Registry, "/") + "/" + t.Repository + "@" + d.String()
}

// Push sends an image of the store to a registry: blobs that it lacks, then the
// manifests, inner ones first, then the tags. img.Digest names the image.
func (c *Client) Push(ctx context.Context, img cache.Output, target Target, sink progress.Sink) (PushResult, error) {
	repo, err := target.repository()
	if err != nil {
		return PushResult{}, fmt.Errorf("push %s: %w", img.Digest, err)
	}
	// What img lists may hold more than the image, such as its provenance.
	if img, err = ReadImage(c.Store, cache.Blob{Digest: img.Digest}); err != nil {
		return PushResult{}, fmt.Errorf("push to %s: %w", repo, err)
	}
	p := push{client: c, repo: repo, insecure: target.Insecure || c.Insecure[repo.RegistryStr()], sink: sink}
	p.result = PushResult{Ref: target.ref(img.Digest), Digest: img.Digest}
	if err := p.run(ctx, img, target.Tags); err != nil {
		return PushResult{}, explain("push", p.result.Ref, repo, err)
	}
	return p.result, nil
}

// push is one push under way.
type push struct {
	client    *Client
	repo      name.Repository
	insecure  bool
	sink      progress.Sink
	mounts    map[cache.Digest]string // repositories of the registry that may have a blob
	transport http.RoundTripper
	pusher    *remote.Pusher
	puller    *remote.Puller

	mu     sync.Mutex
	result PushResult
}

func (p *push) run(ctx context.Context, img cache.Output, tags []string) error {
	if err := p.connect(ctx, img); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	manifests := map[cache.Digest]cache.Blob{}
	for _, b := range img.Blobs {
		if b.Name == "manifest" || b.Name == "index" {
			manifests[b.Digest] = b
			continue
		}
		g.Go(func() error { return p.upload(gctx, b) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	p.client.remember(ctx, p.repo, img)
	if err := p.putTree(ctx, img.Digest, manifests, map[cache.Digest]bool{}); err != nil {
		return err
	}
	for _, tag := range tags {
		if err := p.put(ctx, p.repo.Tag(tag), manifests[img.Digest]); err != nil {
			return fmt.Errorf("tag %s: %w", tag, err)
		}
	}
	return nil
}

// connect opens the connection. It asks for access to the repositories that
// blobs may be mounted from as well, and does without if that is refused.
func (p *push) connect(ctx context.Context, img cache.Output) error {
	p.mounts = p.client.mountSources(p.repo, img)
	own := p.repo.Scope(transport.PushScope) // first: some registries look at no other
	scopes := []string{own}
	asked := map[string]bool{}
	for _, source := range p.mounts {
		if !asked[source] {
			asked[source] = true
			scopes = append(scopes, p.repo.Registry.Repo(source).Scope(transport.PullScope))
		}
	}
	return p.client.retry(ctx, func(ctx context.Context) error {
		t, err := p.client.connect(ctx, p.repo, p.insecure, scopes...)
		var answer *transport.Error
		if errors.As(err, &answer) && len(scopes) > 1 {
			p.mounts, scopes = nil, []string{own}
			t, err = p.client.connect(ctx, p.repo, p.insecure, own)
		}
		if err != nil {
			return err
		}
		p.transport = t
		if p.pusher, err = remote.NewPusher(libraryOptions(t)...); err != nil {
			return err
		}
		p.puller, err = remote.NewPuller(libraryOptions(t)...)
		return err
	})
}

// upload brings one blob to the repository: it is there, or can be mounted from
// another one, or is sent.
func (p *push) upload(ctx context.Context, b cache.Blob) error {
	step := progress.Start(p.sink, "push "+b.Name+" "+b.Digest.String())
	layer := &sentLayer{storeLayer: storeLayer{p.client.Store, b}, step: step}
	l, err := partial.CompressedToLayer(layer)
	if err != nil {
		return err
	}
	mounted := false
	err = p.client.retry(ctx, func(ctx context.Context) (err error) {
		if source := p.mounts[b.Digest]; source != "" {
			var there bool
			if there, mounted, err = p.mount(ctx, b.Digest, source); err != nil || there || mounted {
				return err
			}
		}
		layer.sent = false
		return p.pusher.Upload(ctx, p.repo, l)
	})
	if err != nil {
		err = fmt.Errorf("%s %s: %w", b.Name, b.Digest, err)
		step.Done(err)
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case layer.sent:
		p.result.BlobsPushed++
		p.result.BytesPushed += b.Size
		step.Done(nil)
	case mounted:
		p.result.Mounted++
		step.Cached()
	default:
		p.result.BlobsSkipped++
		step.Cached()
	}
	return nil
}

// sentLayer is a layer that tells whether, and how far, it has been read.
type sentLayer struct {
	storeLayer
	step *progress.Step
	sent bool
}

func (l *sentLayer) Compressed() (io.ReadCloser, error) {
	l.sent = true
	r, err := l.storeLayer.Compressed()
	if err != nil {
		return nil, err
	}
	return readCloser{&counter{r: r, step: l.step, id: l.blob.Digest.String(), total: l.blob.Size}, r}, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

// putTree puts the manifests below d and then d's own: registries refuse a
// manifest whose parts they lack.
func (p *push) putTree(ctx context.Context, d cache.Digest, manifests map[cache.Digest]cache.Blob, done map[cache.Digest]bool) error {
	if done[d] {
		return nil
	}
	done[d] = true
	_, m, err := readManifest(p.client.Store, manifests[d])
	if err != nil {
		return err
	}
	refs, err := m.references()
	if err != nil {
		return err
	}
	if m.index {
		for _, b := range refs {
			if err := p.putTree(ctx, b.Digest, manifests, done); err != nil {
				return err
			}
		}
	}
	return p.put(ctx, p.repo.Digest(d.String()), manifests[d])
}

// put makes ref stand for a manifest, unless it does: where tags cannot be
// changed, putting the same again is an error too.
func (p *push) put(ctx context.Context, ref name.Reference, b cache.Blob) error {
	raw, err := p.client.Store.ReadBlob(b.Digest, maxManifest)
	if err != nil {
		return err
	}
	return p.client.retry(ctx, func(ctx context.Context) error {
		if d, err := p.puller.Head(ctx, ref); err == nil && d.Digest == hashOf(b.Digest) {
			return nil
		}
		return p.pusher.Put(ctx, ref, rawManifest{raw, types.MediaType(b.MediaType)})
	})
}

// rawManifest is a manifest in the form in which the library sends one.
type rawManifest struct {
	raw       []byte
	mediaType types.MediaType
}

func (m rawManifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }
