package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// entry is a file of an archive.
type entry struct {
	name string // slash-separated
	size int64
	open func() (io.ReadCloser, error)
}

func bytesEntry(name string, b []byte) entry {
	return entry{name, int64(len(b)), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

func blobEntry(store *cache.Store, name string, b cache.Blob) entry {
	return entry{name, b.Size, func() (io.ReadCloser, error) { return store.OpenBlob(b.Digest) }}
}

func sortEntries(entries []entry) []entry {
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return entries
}

// Files and annotations of the OCI image spec, "Image Layout Specification", and
// the annotation that containerd and docker load take an image's name from.
const (
	layoutFile     = "oci-layout"
	indexFile      = "index.json"
	blobDir        = "blobs/sha256"
	refName        = "org.opencontainers.image.ref.name"
	containerdName = "io.containerd.image.name"
)

// ownMark is the annotation of index.json by which a directory is known to have
// been written by this package, and may be replaced.
const ownMark = "bottlebuild.export"

// layoutEntries returns the files of an OCI image layout.
func layoutEntries(store *cache.Store, img cache.Output, opt Options) ([]entry, error) {
	img, err := registry.ReadImage(store, cache.Blob{Digest: img.Digest})
	if err != nil {
		return nil, err
	}
	top := img.Blobs[0]
	desc := v1.Descriptor{
		MediaType: types.MediaType(top.MediaType), Size: top.Size,
		Digest: v1.Hash{Algorithm: "sha256", Hex: top.Digest.Hex()},
	}
	if opt.Name != "" {
		tag, err := name.NewTag(opt.Name)
		if err != nil {
			return nil, fmt.Errorf("image name %.200q: %w", opt.Name, err)
		}
		desc.Annotations = map[string]string{refName: tag.TagStr(), containerdName: familiarToFull(tag)}
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{desc}}
	if opt.Format == OCIDir {
		index.Annotations = map[string]string{ownMark: "1"}
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return nil, err
	}
	entries := []entry{bytesEntry(layoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`)), bytesEntry(indexFile, raw)}
	for _, b := range img.Blobs {
		entries = append(entries, blobEntry(store, blobDir+"/"+b.Digest.Hex(), b))
	}
	return sortEntries(entries), nil
}

// familiarToFull returns the full name by which containerd knows an image; the
// library's own spelling of Docker Hub's host is another.
func familiarToFull(tag name.Tag) string {
	return strings.Replace(tag.Name(), name.DefaultRegistry+"/", "docker.io/", 1)
}

// dockerEntries returns the files of what docker save writes, less those that
// only releases before 1.10 read: manifest.json, the config, and the layers
// under the digests of their tars. Layers in gzip stay that; zstd, which older
// engines do not read, is unpacked.
func dockerEntries(ctx context.Context, store *cache.Store, img cache.Output, imageName string) ([]entry, error) {
	desc, err := onlyImage(store, img)
	if err != nil {
		return nil, err
	}
	image, err := registry.Image(store, desc)
	if err != nil {
		return nil, err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	parsed, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("parse config of %s: %w", desc.Digest, err)
	}
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	if len(layers) != len(parsed.RootFS.DiffIDs) {
		return nil, fmt.Errorf("image %s has %d layers, but its config names %d", desc.Digest, len(layers), len(parsed.RootFS.DiffIDs))
	}
	load := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: cache.DigestOf(config).Hex() + ".json", RepoTags: []string{}, Layers: []string{}}
	if imageName != "" {
		tag, err := name.NewTag(imageName)
		if err != nil {
			return nil, fmt.Errorf("image name %.200q: %w", imageName, err)
		}
		load.RepoTags = append(load.RepoTags, familiarToFull(tag))
	}
	entries := []entry{bytesEntry(load.Config, config)}
	for i, l := range layers {
		e, err := dockerLayer(ctx, l, parsed.RootFS.DiffIDs[i])
		if err != nil {
			return nil, err
		}
		if !slices.Contains(load.Layers, e.name) {
			entries = append(entries, e)
		}
		load.Layers = append(load.Layers, e.name)
	}
	raw, err := json.Marshal([]any{load})
	if err != nil {
		return nil, err
	}
	return sortEntries(append(entries, bytesEntry("manifest.json", raw))), nil
}

// onlyImage returns the manifest of an image, or of the one image of an index.
func onlyImage(store *cache.Store, img cache.Output) (cache.Blob, error) {
	img, err := registry.ReadImage(store, cache.Blob{Digest: img.Digest})
	if err != nil {
		return cache.Blob{}, err
	}
	top := img.Blobs[0]
	if top.Name == "manifest" {
		return top, nil
	}
	raw, err := store.ReadBlob(top.Digest, top.Size)
	if err != nil {
		return cache.Blob{}, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(raw))
	if err != nil {
		return cache.Blob{}, fmt.Errorf("parse index %s: %w", top.Digest, err)
	}
	var found []cache.Blob
	for _, d := range index.Manifests {
		if d.Platform != nil && d.Platform.OS == "unknown" {
			continue // an attestation
		}
		digest, err := cache.ParseDigest(d.Digest.String())
		if err != nil {
			return cache.Blob{}, err
		}
		found = append(found, cache.Blob{Name: "manifest", MediaType: string(d.MediaType), Digest: digest, Size: d.Size})
	}
	if len(found) != 1 {
		return cache.Blob{}, fmt.Errorf("a docker archive holds one platform, and the image has %d; use format %q, or build for one platform", len(found), OCI)
	}
	return found[0], nil
}

// dockerLayer returns a layer's entry. A layer to be unpacked is unpacked once
// here, since a tar needs the size first, and again when it is written: that
// costs less than a copy on disk.
func dockerLayer(ctx context.Context, l v1.Layer, diffID v1.Hash) (entry, error) {
	mediaType, err := l.MediaType()
	if err != nil {
		return entry{}, err
	}
	fileName := diffID.Hex + ".tar"
	if !strings.HasSuffix(string(mediaType), "zstd") {
		size, err := l.Size()
		if err != nil {
			return entry{}, err
		}
		return entry{fileName, size, l.Compressed}, nil
	}
	r, err := l.Uncompressed()
	if err != nil {
		return entry{}, fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	defer r.Close()
	got, size, err := v1.SHA256(readerContext{ctx, r})
	if err == nil && got != diffID {
		err = errors.New("its content is not what the config says")
	}
	if err != nil {
		return entry{}, fmt.Errorf("unpack layer %s: %w", diffID, err)
	}
	return entry{fileName, size, l.Uncompressed}, nil
}

// readerContext ends reading when its context is done.
type readerContext struct {
	ctx context.Context
	r   io.Reader
}

func (r readerContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
