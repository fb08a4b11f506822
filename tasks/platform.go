package tasks

import (
	"fmt"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// platforms returns those that an image is made for.
func (w *Worker) platforms(p Image) []string {
	if len(p.Platforms) == 0 {
		return []string{w.Platform}
	}
	return p.Platforms
}

// platformImage returns the image for one platform of an image that may be for
// several.
func (w *Worker) platformImage(image cache.Output, platform string) (cache.Output, error) {
	desc, ok := image.Blob("index")
	if !ok {
		return image, nil
	}
	want, err := platforms.Parse(platform)
	if err != nil {
		return cache.Output{}, fmt.Errorf("platform %q: %w", platform, err)
	}
	index, err := registry.Index(w.Store, desc)
	if err != nil {
		return cache.Output{}, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return cache.Output{}, err
	}
	match := platforms.Only(want)
	for _, c := range m.Manifests {
		if c.Platform == nil || !match.Match(ocispecs.Platform{OS: c.Platform.OS, Architecture: c.Platform.Architecture, Variant: c.Platform.Variant}) {
			continue
		}
		d, err := cache.ParseDigest(c.Digest.String())
		if err != nil {
			return cache.Output{}, err
		}
		return registry.ReadImage(w.Store, cache.Blob{MediaType: string(c.MediaType), Digest: d, Size: c.Size})
	}
	return cache.Output{}, fmt.Errorf("image %s is not built for %s: add it to the image's platforms", image.Digest, platform)
}
