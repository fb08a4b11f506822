package tasks

import (
	"context"
	"fmt"

	"github.com/containerd/platforms"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/progress"
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
// several. Of one that was made elsewhere, what the others consist of is left
// there.
func (w *Worker) platformImage(ctx context.Context, image cache.Output, platform string, sink progress.Sink) (cache.Output, error) {
	desc, ok := image.Blob("index")
	if !ok {
		return image, w.need(ctx, image.Blobs, sink)
	}
	if err := w.needConfigs(ctx, image); err != nil {
		return cache.Output{}, err
	}
	child, err := w.platformManifest(image, desc, platform)
	if err != nil {
		return cache.Output{}, err
	}
	img, err := registry.Image(w.Store, child)
	if err != nil {
		return cache.Output{}, err
	}
	m, err := img.Manifest()
	if err != nil {
		return cache.Output{}, err
	}
	var layers []cache.Blob
	for _, l := range m.Layers {
		for _, b := range image.Blobs {
			if b.Digest.String() == l.Digest.String() {
				layers = append(layers, b)
			}
		}
	}
	if err := w.need(ctx, layers, sink); err != nil {
		return cache.Output{}, err
	}
	return registry.ReadImage(w.Store, child)
}

// platformManifest returns the manifest for one platform that an index has.
func (w *Worker) platformManifest(image cache.Output, desc cache.Blob, platform string) (cache.Blob, error) {
	want, err := platforms.Parse(platform)
	if err != nil {
		return cache.Blob{}, fmt.Errorf("platform %q: %w", platform, err)
	}
	index, err := registry.Index(w.Store, desc)
	if err != nil {
		return cache.Blob{}, err
	}
	m, err := index.IndexManifest()
	if err != nil {
		return cache.Blob{}, err
	}
	match := platforms.Only(want)
	for _, c := range m.Manifests {
		if c.Platform == nil || !match.Match(ocispecs.Platform{OS: c.Platform.OS, Architecture: c.Platform.Architecture, Variant: c.Platform.Variant}) {
			continue
		}
		d, err := cache.ParseDigest(c.Digest.String())
		if err != nil {
			return cache.Blob{}, err
		}
		return cache.Blob{MediaType: string(c.MediaType), Digest: d, Size: c.Size}, nil
	}
	return cache.Blob{}, fmt.Errorf("image %s is not built for %s: add it to the image's platforms", image.Digest, platform)
}
