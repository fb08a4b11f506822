package smolvm

import (
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// image is an image of the store for one platform.
type image struct {
	manifest cache.Blob
	config   cache.Digest
	layers   int
	user     string
}

// choose finds the image for platform in an output that is one or an index.
func choose(store *cache.Store, out cache.Output, platform string) (image, error) {
	top := cache.Blob{Digest: out.Digest}
	for _, b := range out.Blobs {
		if b.Digest == out.Digest {
			top = b
		}
	}
	desc, err := childFor(store, top, platform)
	if err != nil {
		return image{}, err
	}
	img, err := registry.Image(store, desc)
	if err != nil {
		return image{}, err
	}
	m, err := img.Manifest()
	if err != nil {
		return image{}, fmt.Errorf("read manifest %s: %w", desc.Digest, err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		return image{}, fmt.Errorf("read config of %s: %w", desc.Digest, err)
	}
	if have := c.OS + "/" + c.Architecture; platform != "" && !samePlatform(have, platform) && !strings.HasPrefix(platform, have+"/") {
		return image{}, fmt.Errorf("image %s is for %s, not for %s", desc.Digest, have, platform)
	}
	config, err := cache.ParseDigest(m.Config.Digest.String())
	if err != nil {
		return image{}, err
	}
	return image{manifest: desc, config: config, layers: len(m.Layers), user: c.Config.User}, nil
}

// childFor returns top if it is an image, or an index's image for platform.
func childFor(store *cache.Store, top cache.Blob, platform string) (cache.Blob, error) {
	if _, err := registry.Image(store, top); err == nil {
		return top, nil
	}
	ix, err := registry.Index(store, top)
	if err != nil {
		return cache.Blob{}, err
	}
	m, err := ix.IndexManifest()
	if err != nil {
		return cache.Blob{}, fmt.Errorf("read index %s: %w", top.Digest, err)
	}
	var have []string
	for _, d := range m.Manifests {
		if d.Platform == nil || !d.MediaType.IsImage() {
			continue
		}
		if name := d.Platform.String(); !samePlatform(name, platform) {
			have = append(have, name)
			continue
		}
		return descriptorBlob(d)
	}
	return cache.Blob{}, fmt.Errorf("index %s has no image for %q, only for %s", top.Digest, platform, strings.Join(have, ", "))
}

func descriptorBlob(d v1.Descriptor) (cache.Blob, error) {
	digest, err := cache.ParseDigest(d.Digest.String())
	if err != nil {
		return cache.Blob{}, fmt.Errorf("read index: %w", err)
	}
	return cache.Blob{Name: "manifest", MediaType: string(d.MediaType), Digest: digest, Size: d.Size}, nil
}
