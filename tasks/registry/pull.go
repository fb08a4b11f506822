package registry

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
	"bottlebuild/tasks/progress"
)

// transfers is how many blobs of one image are in transfer at once.
const transfers = 4

// errDamagedInTransit says that a registry sent other bytes than were asked for.
var errDamagedInTransit = errors.New("the registry sent other content than was asked for")

// Config returns the config, as JSON, of the image that the manifest or index d
// in ref's repository has for platform ("linux/arm64"; empty: Linux on this
// machine's processor), and the digest of that image's own manifest. ref's tag
// is of no account. What was fetched stays in the store, so that a second call
// needs no network.
func (c *Client) Config(ctx context.Context, ref string, d cache.Digest, platform string) (config []byte, manifest cache.Digest, err error) {
	r, err := parseReference(ref)
	if err != nil {
		return nil, cache.Digest{}, err
	}
	fail := func(err error) ([]byte, cache.Digest, error) {
		return nil, cache.Digest{}, explain("read config of", ref, r.Context(), err)
	}
	desc, m, err := c.selectManifest(ctx, r.Context(), d, platform)
	if err != nil {
		return fail(err)
	}
	b, err := blobOf("config", m.config)
	if err != nil {
		return fail(err)
	}
	if b.Size > maxConfig {
		return fail(fmt.Errorf("config %s has %d bytes, over the limit of %d", b.Digest, b.Size, maxConfig))
	}
	if err := c.fetch(ctx, r.Context(), b, progress.Discard{}); err != nil {
		return fail(err)
	}
	config, err = c.Store.ReadBlob(b.Digest, maxConfig)
	if errors.Is(err, cache.ErrDamaged) { // it is in quarantine now
		if err = c.fetch(ctx, r.Context(), b, progress.Discard{}); err == nil {
			config, err = c.Store.ReadBlob(b.Digest, maxConfig)
		}
	}
	if err != nil {
		return fail(err)
	}
	return config, desc.Digest, nil
}

// Pull brings an image into the store, less what is there. ref, d and platform
// are as for [Client.Config]. The output is that of [ReadImage] for the
// platform's manifest.
func (c *Client) Pull(ctx context.Context, ref string, d cache.Digest, platform string, sink progress.Sink) (cache.Output, error) {
	r, err := parseReference(ref)
	if err != nil {
		return cache.Output{}, err
	}
	img, err := c.pull(ctx, r.Context(), d, platform, sink)
	if err != nil {
		return cache.Output{}, explain("pull", ref, r.Context(), err)
	}
	return img, nil
}

func (c *Client) pull(ctx context.Context, repo name.Repository, d cache.Digest, platform string, sink progress.Sink) (cache.Output, error) {
	desc, m, err := c.selectManifest(ctx, repo, d, platform)
	if err != nil {
		return cache.Output{}, err
	}
	refs, err := m.references()
	if err != nil {
		return cache.Output{}, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	seen := map[cache.Digest]bool{}
	for _, b := range refs {
		if !seen[b.Digest] {
			seen[b.Digest] = true
			g.Go(func() error { return c.fetch(gctx, repo, b, sink) })
		}
	}
	if err := g.Wait(); err != nil {
		return cache.Output{}, err
	}
	img, err := ReadImage(c.Store, desc)
	if err != nil {
		return cache.Output{}, err
	}
	return img, checkPlatform(img.Attrs["platform"], platform)
}

// selectManifest returns the manifest of the image for platform that digest d,
// of a manifest or an index, stands for.
func (c *Client) selectManifest(ctx context.Context, repo name.Repository, d cache.Digest, platform string) (cache.Blob, manifest, error) {
	for range maxDepth {
		raw, m, err := c.manifest(ctx, repo, d)
		if err != nil {
			return cache.Blob{}, manifest{}, err
		}
		if !m.index {
			return cache.Blob{Name: "manifest", MediaType: string(m.mediaType), Digest: d, Size: int64(len(raw))}, m, nil
		}
		child, err := choose(m.children, platform)
		if err != nil {
			return cache.Blob{}, manifest{}, err
		}
		if d, err = cache.ParseDigest(child.Digest.String()); err != nil {
			return cache.Blob{}, manifest{}, err
		}
	}
	return cache.Blob{}, manifest{}, fmt.Errorf("its indexes nest more than %d deep", maxDepth)
}

// manifest returns a manifest from the store, or else from the registry.
func (c *Client) manifest(ctx context.Context, repo name.Repository, d cache.Digest) ([]byte, manifest, error) {
	raw, m, err := readManifest(c.Store, cache.Blob{Digest: d})
	if err == nil || !errors.Is(err, cache.ErrMiss) && !errors.Is(err, cache.ErrDamaged) {
		return raw, m, err
	}
	err = c.retry(ctx, func(ctx context.Context) error {
		p, err := c.puller(ctx, repo, false)
		if err != nil {
			return err
		}
		got, err := p.Get(ctx, repo.Digest(d.String()))
		if err != nil {
			return err
		}
		if cache.DigestOf(got.Manifest) != d {
			return fmt.Errorf("manifest %s: %w", d, errDamagedInTransit)
		}
		raw = got.Manifest
		return nil
	})
	if err != nil {
		return nil, manifest{}, err
	}
	if m, err = parseManifest(raw, ""); err != nil {
		return nil, manifest{}, fmt.Errorf("manifest %s: %w", d, err)
	}
	if _, err := c.Store.PutBytes(raw); err != nil {
		return nil, manifest{}, err
	}
	return raw, m, nil
}

// fetch brings one blob into the store unless it is there. Nobody else fetches
// it meanwhile: images that are pulled at once often share layers.
func (c *Client) fetch(ctx context.Context, repo name.Repository, b cache.Blob, sink progress.Sink) error {
	if c.Store.HasBlob(b.Digest, b.Size) == nil {
		return nil
	}
	unlock, err := c.Store.Lock(ctx, cache.Key(b.Digest))
	if err != nil {
		return err
	}
	defer unlock()
	if c.Store.HasBlob(b.Digest, b.Size) == nil {
		return nil
	}
	step := progress.Start(sink, "pull "+b.Name+" "+b.Digest.String())
	err = c.retry(ctx, func(ctx context.Context) error { return c.download(ctx, repo, b, step) })
	step.Done(err)
	return err
}

func (c *Client) download(ctx context.Context, repo name.Repository, b cache.Blob, step *progress.Step) error {
	p, err := c.puller(ctx, repo, false)
	if err != nil {
		return err
	}
	layer, err := p.Layer(ctx, repo.Digest(b.Digest.String()))
	if err != nil {
		return err
	}
	body, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer body.Close()
	w, err := c.Store.NewBlob()
	if err != nil {
		return err
	}
	defer w.Close()
	counted := &counter{r: io.LimitReader(body, b.Size+1), step: step, id: b.Digest.String(), total: b.Size}
	if _, err := io.Copy(w, counted); err != nil {
		return fmt.Errorf("%s %s: %w", b.Name, b.Digest, err)
	}
	if w.Size() != b.Size {
		return fmt.Errorf("%s %s: %w: its size is not the %d bytes of the manifest", b.Name, b.Digest, errDamagedInTransit, b.Size)
	}
	if _, err := w.Commit(b.Digest); errors.Is(err, cache.ErrDamaged) {
		return fmt.Errorf("%s: %w: %w", b.Name, errDamagedInTransit, err)
	} else if err != nil {
		return err
	}
	return nil
}

// counter reports to a step how much has been read, about once a mebibyte.
type counter struct {
	r          io.Reader
	step       *progress.Step
	id         string
	read, told int64
	total      int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.read += int64(n)
	if c.read-c.told >= 1<<20 || err == io.EOF && c.read > c.told {
		c.told = c.read
		c.step.Bytes(c.id, c.read, c.total)
	}
	return n, err
}
