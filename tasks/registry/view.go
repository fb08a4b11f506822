package registry

import (
	"bytes"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// Image returns an image of the store in go-containerregistry's form. desc names
// its manifest. Content is read from the store when it is asked for, and
// verified; Uncompressed reads layers in gzip, zstd and plain tar.
func Image(store *cache.Store, desc cache.Blob) (v1.Image, error) {
	raw, m, err := readManifest(store, desc)
	if err == nil && m.index {
		err = fmt.Errorf("%s is an index, not an image", desc.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("open image: %w", err)
	}
	return partial.CompressedToImage(&storeImage{store, raw, m})
}

// Index returns an image index of the store in go-containerregistry's form, as
// [Image] does.
func Index(store *cache.Store, desc cache.Blob) (v1.ImageIndex, error) {
	raw, m, err := readManifest(store, desc)
	if err == nil && !m.index {
		err = fmt.Errorf("%s is an image, not an index", desc.Digest)
	}
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	return &storeIndex{store, raw, m}, nil
}

type storeImage struct {
	store *cache.Store
	raw   []byte
	m     manifest
}

func (i *storeImage) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *storeImage) MediaType() (types.MediaType, error) { return i.m.mediaType, nil }

func (i *storeImage) RawConfigFile() ([]byte, error) {
	b, err := blobOf("config", i.m.config)
	if err != nil {
		return nil, err
	}
	return i.store.ReadBlob(b.Digest, maxConfig)
}

func (i *storeImage) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	refs, err := i.m.references()
	if err != nil {
		return nil, err
	}
	for _, b := range refs {
		if b.Digest.String() == h.String() {
			return storeLayer{i.store, b}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

// storeLayer is a blob of the store as a layer.
type storeLayer struct {
	store *cache.Store
	blob  cache.Blob
}

func (l storeLayer) Digest() (v1.Hash, error) { return hashOf(l.blob.Digest), nil }
func (l storeLayer) Size() (int64, error)     { return l.blob.Size, nil }
func (l storeLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.blob.MediaType), nil
}
func (l storeLayer) Compressed() (io.ReadCloser, error) { return l.store.OpenBlob(l.blob.Digest) }

func hashOf(d cache.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: d.Hex()} }

type storeIndex struct {
	store *cache.Store
	raw   []byte
	m     manifest
}

func (i *storeIndex) MediaType() (types.MediaType, error) { return i.m.mediaType, nil }
func (i *storeIndex) RawManifest() ([]byte, error)        { return i.raw, nil }
func (i *storeIndex) Digest() (v1.Hash, error)            { return partial.Digest(i) }
func (i *storeIndex) Size() (int64, error)                { return partial.Size(i) }

func (i *storeIndex) IndexManifest() (*v1.IndexManifest, error) {
	return v1.ParseIndexManifest(bytes.NewReader(i.raw))
}

func (i *storeIndex) Image(h v1.Hash) (v1.Image, error) {
	b, err := i.child(h)
	if err != nil {
		return nil, err
	}
	return Image(i.store, b)
}

func (i *storeIndex) ImageIndex(h v1.Hash) (v1.ImageIndex, error) {
	b, err := i.child(h)
	if err != nil {
		return nil, err
	}
	return Index(i.store, b)
}

func (i *storeIndex) child(h v1.Hash) (cache.Blob, error) {
	refs, err := i.m.references()
	if err != nil {
		return cache.Blob{}, err
	}
	for _, b := range refs {
		if b.Digest.String() == h.String() {
			return b, nil
		}
	}
	return cache.Blob{}, fmt.Errorf("the index has no manifest %s", h)
}
