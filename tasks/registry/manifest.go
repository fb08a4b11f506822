package registry

import (
	"encoding/json"
	"errors"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// What is read into memory is bounded, in bytes. The OCI distribution spec asks
// registries for manifests of at least 4 MiB; configs have no bound of their own.
const (
	maxManifest = 4 << 20
	maxConfig   = 8 << 20
)

// manifest is a parsed image manifest, or with index set an image index.
type manifest struct {
	mediaType types.MediaType
	index     bool
	config    v1.Descriptor
	layers    []v1.Descriptor
	children  []v1.Descriptor
}

// parseManifest reads a manifest or an index in the OCI or the Docker form.
// mediaType is what the descriptor or the answer's header called it, or empty. A
// document that could be read as both is refused: two readers of it would see
// two images (CVE-2021-41190).
func parseManifest(raw []byte, mediaType string) (manifest, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Config        *v1.Descriptor  `json:"config"`
		Layers        []v1.Descriptor `json:"layers"`
		Manifests     []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return manifest{}, fmt.Errorf("parse manifest: %w", err)
	}
	asImage, asIndex := doc.Config != nil || doc.Layers != nil, doc.Manifests != nil
	m := manifest{mediaType: doc.MediaType, index: asIndex, layers: doc.Layers, children: doc.Manifests}
	switch {
	case doc.SchemaVersion != 2:
		return manifest{}, fmt.Errorf("parse manifest: its schema version is %d; only version 2 is read", doc.SchemaVersion)
	case asImage && asIndex:
		return manifest{}, errors.New("parse manifest: it has both layers and manifests")
	case !asIndex && doc.Config == nil:
		return manifest{}, errors.New("parse manifest: it has neither a config nor manifests")
	case m.mediaType == "" && mediaType != "":
		m.mediaType = types.MediaType(mediaType)
	case m.mediaType == "" && asIndex:
		m.mediaType = types.OCIImageIndex
	case m.mediaType == "":
		m.mediaType = types.OCIManifestSchema1
	case mediaType != "" && mediaType != string(m.mediaType):
		return manifest{}, fmt.Errorf("parse manifest: it calls itself %s but was announced as %s", m.mediaType, mediaType)
	}
	if asIndex != m.mediaType.IsIndex() || asIndex == m.mediaType.IsImage() {
		return manifest{}, fmt.Errorf("parse manifest: its content does not fit its media type %.100s", m.mediaType)
	}
	if doc.Config != nil {
		m.config = *doc.Config
	}
	return m, nil
}

// blobOf turns a descriptor of a manifest into a blob of the store.
func blobOf(name string, d v1.Descriptor) (cache.Blob, error) {
	digest, err := cache.ParseDigest(d.Digest.String())
	if err != nil {
		return cache.Blob{}, fmt.Errorf("%s: %w", name, err)
	}
	if d.Size < 0 {
		return cache.Blob{}, fmt.Errorf("%s %s: its size is %d", name, digest, d.Size)
	}
	return cache.Blob{Name: name, MediaType: string(d.MediaType), Digest: digest, Size: d.Size}, nil
}

// references returns the blobs that the manifest names, in order: config and
// layers, or the manifests of an index.
func (m manifest) references() ([]cache.Blob, error) {
	var blobs []cache.Blob
	add := func(name string, d v1.Descriptor) error {
		b, err := blobOf(name, d)
		blobs = append(blobs, b)
		return err
	}
	if m.index {
		for _, d := range m.children {
			name := "manifest"
			if d.MediaType.IsIndex() {
				name = "index"
			}
			if err := add(name, d); err != nil {
				return nil, err
			}
		}
		return blobs, nil
	}
	if err := add("config", m.config); err != nil {
		return nil, err
	}
	for _, d := range m.layers {
		if err := add("layer", d); err != nil {
			return nil, err
		}
	}
	return blobs, nil
}
