package buildkit

import (
	"fmt"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// imageConfig returns the config of an image of the store, for the platform
// that fits want best if the digest is that of an index.
func imageConfig(store *cache.Store, dgst digest.Digest, want ocispecs.Platform) ([]byte, error) {
	d, err := cache.ParseDigest(dgst.String())
	if err != nil {
		return nil, err
	}
	img, err := imageFor(store, cache.Blob{Digest: d}, want)
	if err != nil {
		return nil, err
	}
	return img.RawConfigFile()
}

func imageFor(store *cache.Store, desc cache.Blob, want ocispecs.Platform) (v1.Image, error) {
	if size, err := store.BlobSize(desc.Digest); err != nil {
		return nil, err
	} else if desc.Size = size; size == 0 {
		return nil, fmt.Errorf("blob %s is empty", desc.Digest)
	}
	index, err := registry.Index(store, desc)
	if err != nil {
		return registry.Image(store, desc)
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	fits := platforms.Only(want)
	var best *v1.Descriptor
	for _, c := range m.Manifests {
		if c.Platform == nil || !fits.Match(spec(c.Platform)) {
			continue
		}
		if best == nil || fits.Less(spec(c.Platform), spec(best.Platform)) {
			best = &c
		}
	}
	if best == nil {
		return nil, fmt.Errorf("index %s has no image for %s", desc.Digest, platforms.Format(want))
	}
	return index.Image(best.Digest)
}

func spec(p *v1.Platform) ocispecs.Platform {
	return ocispecs.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion}
}
