package layout

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
)

const (
	// maxManifest and maxConfig bound what is read of an image, in bytes.
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
	// maxManifests bounds how many manifests an image has, for all its platforms.
	maxManifests = 1000
)

// Describe puts an image's indexes, manifests and configs into store, all that it
// takes to say what the image is, and makes sure that its layers are there, of the
// right size. Manifests of platforms that the layout leaves out are left out.
func (l *Layout) Describe(image cache.Digest, store *cache.Store) error {
	left := maxManifests
	return l.describe(image, store, &left)
}

func (l *Layout) describe(d cache.Digest, store *cache.Store, left *int) error {
	if *left--; *left < 0 {
		return fmt.Errorf("it has more than %d manifests", maxManifests)
	}
	raw, err := l.put(d, maxManifest, store)
	if err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	var m struct { // an index or a manifest
		Manifests []ocispecs.Descriptor `json:"manifests"`
		Config    *ocispecs.Descriptor  `json:"config"`
		Layers    []ocispecs.Descriptor `json:"layers"`
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("parse manifest %s: %w", d, err)
	}
	if m.Config != nil {
		config, err := cache.ParseDigest(m.Config.Digest.String())
		if err == nil {
			_, err = l.put(config, maxConfig, store)
		}
		if err != nil {
			return fmt.Errorf("config of manifest %s: %w", d, err)
		}
	}
	for _, layer := range m.Layers {
		if err := l.checkLayer(layer); err != nil {
			return fmt.Errorf("layer %s of manifest %s: %w", layer.Digest, d, err)
		}
	}
	found := len(m.Manifests) == 0
	for _, child := range m.Manifests {
		c, err := cache.ParseDigest(child.Digest.String())
		if err != nil {
			return fmt.Errorf("index %s: %w", d, err)
		}
		if f, _, err := l.OpenBlob(c); errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err == nil {
			f.Close()
		}
		if err := l.describe(c, store, left); err != nil {
			return err
		}
		found = true
	}
	if !found {
		return fmt.Errorf("none of the %d manifests of index %s is in the layout", len(m.Manifests), d)
	}
	return nil
}

func (l *Layout) checkLayer(layer ocispecs.Descriptor) error {
	d, err := cache.ParseDigest(layer.Digest.String())
	if err != nil {
		return err
	}
	f, size, err := l.OpenBlob(d)
	if err != nil {
		return err
	}
	defer f.Close()
	if size != layer.Size {
		return fmt.Errorf("it is damaged: it has %d bytes, not %d", size, layer.Size)
	}
	return nil
}

// put copies a blob into store, and returns its content.
func (l *Layout) put(d cache.Digest, limit int64, store *cache.Store) ([]byte, error) {
	b, err := l.ReadBlob(d, limit)
	if err != nil || store.HasBlob(d, int64(len(b))) == nil {
		return b, err
	}
	_, err = store.PutBytes(b)
	return b, err
}
