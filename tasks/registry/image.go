package registry

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// maxDepth bounds how deep indexes may nest. Real ones are one deep.
const maxDepth = 4

// ReadImage describes an image of the store. desc names its manifest or index;
// its media type may be empty, and its size 0 if it is not known.
//
// The output's digest is desc's. Its blobs are all that the image consists of,
// each once, parents before what they name: "index", "manifest", "config",
// "layer". Attrs has "mediaType" and, for an image of a single platform,
// "config", the config's digest, and "platform", such as "linux/amd64", if the
// config tells. The error wraps [cache.ErrMiss] if a blob is not there or has
// another size than the manifest says.
func ReadImage(store *cache.Store, desc cache.Blob) (cache.Output, error) {
	w := walk{store: store, seen: map[cache.Digest]bool{}}
	top, err := w.manifest(desc, 0)
	if err != nil {
		return cache.Output{}, fmt.Errorf("read image %s: %w", desc.Digest, err)
	}
	out := cache.Output{Digest: desc.Digest, Blobs: w.blobs, Attrs: map[string]string{"mediaType": string(top.mediaType)}}
	if top.index {
		return out, nil
	}
	config, _ := out.Blob("config")
	out.Attrs["config"] = config.Digest.String()
	platform, err := configPlatform(store, config)
	if err != nil {
		return cache.Output{}, fmt.Errorf("read image %s: %w", desc.Digest, err)
	}
	if platform != "" {
		out.Attrs["platform"] = platform
	}
	return out, nil
}

// walk collects the blobs of an image.
type walk struct {
	store *cache.Store
	blobs []cache.Blob
	seen  map[cache.Digest]bool
}

func (w *walk) manifest(desc cache.Blob, depth int) (manifest, error) {
	if depth > maxDepth {
		return manifest{}, fmt.Errorf("its indexes nest more than %d deep", maxDepth)
	}
	raw, m, err := readManifest(w.store, desc)
	if err != nil {
		return manifest{}, err
	}
	name := "manifest"
	if m.index {
		name = "index"
	}
	w.add(cache.Blob{Name: name, MediaType: string(m.mediaType), Digest: desc.Digest, Size: int64(len(raw))})
	refs, err := m.references()
	if err != nil {
		return manifest{}, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	for _, b := range refs {
		switch {
		case w.seen[b.Digest]:
		case m.index:
			if _, err := w.manifest(b, depth+1); err != nil {
				return manifest{}, err
			}
		default:
			if err := w.store.HasBlob(b.Digest, b.Size); err != nil {
				return manifest{}, fmt.Errorf("%s of manifest %s: %w", b.Name, desc.Digest, err)
			}
			w.add(b)
		}
	}
	return m, nil
}

func (w *walk) add(b cache.Blob) {
	w.seen[b.Digest] = true
	w.blobs = append(w.blobs, b)
}

// readManifest reads and parses a manifest of the store.
func readManifest(store *cache.Store, desc cache.Blob) ([]byte, manifest, error) {
	size := desc.Size
	if size == 0 {
		size = -1
	}
	if err := store.HasBlob(desc.Digest, size); err != nil {
		return nil, manifest{}, err
	}
	raw, err := store.ReadBlob(desc.Digest, maxManifest)
	if err != nil {
		return nil, manifest{}, err
	}
	m, err := parseManifest(raw, desc.MediaType)
	if err != nil {
		return nil, manifest{}, fmt.Errorf("manifest %s: %w", desc.Digest, err)
	}
	return raw, m, nil
}

// configPlatform returns what platform an image config is of, empty if the blob
// is another kind of config or does not tell.
func configPlatform(store *cache.Store, config cache.Blob) (string, error) {
	if !types.MediaType(config.MediaType).IsConfig() {
		return "", nil
	}
	raw, err := store.ReadBlob(config.Digest, maxConfig)
	if err != nil {
		return "", err
	}
	var c struct {
		OS           string `json:"os"`
		Architecture string `json:"architecture"`
		Variant      string `json:"variant"`
	}
	if err := json.Unmarshal(raw, &c); err != nil {
		return "", fmt.Errorf("parse config %s: %w", config.Digest, err)
	}
	if c.OS == "" || c.Architecture == "" {
		return "", nil
	}
	return v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}.String(), nil
}
