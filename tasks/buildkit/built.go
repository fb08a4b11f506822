package buildkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// readBuilt describes the image that a build has left in the store, of which
// nothing may be missing.
func readBuilt(store *cache.Store, top cache.Digest) (cache.Output, error) {
	size, err := store.BlobSize(top)
	if err != nil {
		return cache.Output{}, fmt.Errorf("read built image %s: %w", top, err)
	}
	out, err := registry.ReadImage(store, cache.Blob{Digest: top, Size: size})
	if err != nil {
		return cache.Output{}, fmt.Errorf("read built image: %w", err)
	}
	if out.Attrs["platform"] != "" {
		return out, nil
	}
	images, err := builtImages(store, out)
	if err != nil {
		return cache.Output{}, fmt.Errorf("read built image %s: %w", top, err)
	}
	var names []string
	for _, i := range images {
		names = append(names, i.platform)
	}
	out.Attrs["platform"] = strings.Join(names, ",")
	return out, nil
}

// builtImage is the manifest of one platform.
type builtImage struct {
	platform string // empty if the image is of a single platform
	layers   []v1.Descriptor
}

// builtImages returns the manifests of an image, in the order of its index.
func builtImages(store *cache.Store, out cache.Output) ([]builtImage, error) {
	if top := out.Blobs[0]; top.Name == "manifest" {
		img, err := registry.Image(store, top)
		if err != nil {
			return nil, err
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, err
		}
		return []builtImage{{"", m.Layers}}, nil
	}
	index, err := registry.Index(store, out.Blobs[0])
	if err != nil {
		return nil, err
	}
	im, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var images []builtImage
	for _, d := range im.Manifests {
		if d.Platform == nil || !d.MediaType.IsImage() {
			continue
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		m, err := img.Manifest()
		if err != nil {
			return nil, err
		}
		images = append(images, builtImage{platforms.FormatAll(platforms.Normalize(spec(d.Platform))), m.Layers})
	}
	return images, nil
}

// rewritten is the annotation that BuildKit leaves on a layer whose times it
// has rewritten: the epoch, in seconds (util/converter in its source).
const rewritten = "buildkit/rewritten-timestamp"

// checkRewritten makes sure that the times in every layer that the build added
// are those of the epoch. A daemon that fails to rewrite a layer keeps it as it
// is and only logs that. meta is what the frontend said of the image; base
// layers are left alone on purpose.
func checkRewritten(store *cache.Store, out cache.Output, epoch string, meta map[string][]byte) error {
	images, err := builtImages(store, out)
	if err != nil {
		return fmt.Errorf("read built image %s: %w", out.Digest, err)
	}
	for _, img := range images {
		key := exptypes.ExporterImageBaseConfigKey
		if img.platform != "" {
			key += "/" + img.platform
		}
		var base ocispecs.Image
		if config := meta[key]; config != nil {
			if err := json.Unmarshal(config, &base); err != nil {
				return fmt.Errorf("parse config of base image: %w", err)
			}
		}
		for i, l := range img.layers {
			if i >= len(base.RootFS.DiffIDs) && l.Annotations[rewritten] != epoch {
				return fmt.Errorf("layer %d of %d: %w", i+1, len(img.layers), errNotRewritten)
			}
		}
	}
	return nil
}

var errNotRewritten = errors.New("the builder did not rewrite its times, so the image cannot be reproduced; " +
	"its log says why; or set reproducible = false for this image")
