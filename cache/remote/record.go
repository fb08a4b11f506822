package remote

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// document is a record's manifest or index, and every other artifact that is
// written here, in the form of OCI image-spec 1.1. Either Config and Layers, or
// Manifests, are there.
type document struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     types.MediaType   `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Config        *v1.Descriptor    `json:"config,omitempty"`
	Layers        []v1.Descriptor   `json:"layers,omitempty"`
	Manifests     []v1.Descriptor   `json:"manifests,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// artifact returns a manifest around layers; one without any has the empty
// layer, since registries want one.
func artifact(kind string, layers []v1.Descriptor, annotations map[string]string) document {
	config := emptyDescriptor()
	if len(layers) == 0 {
		layers = []v1.Descriptor{config}
	}
	return document{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: kind,
		Config: &config, Layers: layers, Annotations: annotations,
	}
}

func emptyDescriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: emptyType, Size: int64(len(emptyConfig)), Digest: hashOf(cache.DigestOf(emptyConfig)), Data: emptyConfig}
}

func hashOf(d cache.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: d.Hex()} }

// upload is all that a registry must have of an entry, in the order in which it
// takes it: blobs, then manifests, inner ones first, then the record.
type upload struct {
	blobs     []cache.Blob
	manifests []cache.Blob // of the store
	parts     *rawManifest // PartsType, if there are loose blobs beside manifests
	record    rawManifest
}

// rawManifest is a manifest in the form in which go-containerregistry sends one.
type rawManifest struct {
	raw       []byte
	mediaType types.MediaType
}

func (m rawManifest) RawManifest() ([]byte, error)        { return m.raw, nil }
func (m rawManifest) MediaType() (types.MediaType, error) { return m.mediaType, nil }

func (d document) encode() (rawManifest, error) {
	raw, err := json.Marshal(d)
	if err == nil && len(raw) > maxManifest {
		err = fmt.Errorf("its manifest would be over %d bytes", maxManifest)
	}
	return rawManifest{raw, d.MediaType}, err
}

// prepare lays out an entry whose blobs are all in the store.
func prepare(store *cache.Store, e *cache.Entry, env *envelope) (*upload, error) {
	text, err := env.encode()
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{
		KeyAnnotation: e.Key.String(), KindAnnotation: e.Kind, EnvelopeAnnotation: string(text),
		createdAnnotation: e.Created.UTC().Format(time.RFC3339),
	}
	t := tree{store: store, listed: map[cache.Digest]cache.Blob{}, inner: map[cache.Digest]bool{}, done: map[cache.Digest]bool{}}
	for _, b := range e.Output.Blobs {
		t.listed[b.Digest] = b
	}
	u := &upload{}
	for _, b := range e.Output.Blobs {
		if isManifest(b) {
			if err := t.walk(b); err != nil {
				return nil, err
			}
		}
	}
	var roots, loose []v1.Descriptor
	for _, m := range t.order {
		if !t.inner[m.Digest] {
			roots = append(roots, v1.Descriptor{
				MediaType: types.MediaType(m.MediaType), Digest: hashOf(m.Digest), Size: m.Size, Platform: platformOf(m, e.Output),
			})
		}
	}
	u.manifests = t.order
	titles := map[string]int{}
	for _, b := range e.Output.Blobs {
		titles[b.Name]++
	}
	for _, b := range e.Output.Blobs {
		if isManifest(b) {
			continue
		}
		u.blobs = append(u.blobs, b)
		if !t.inner[b.Digest] {
			loose = append(loose, layerOf(b, titles[b.Name] == 1))
		}
	}
	if len(roots) == 0 {
		u.record, err = artifact(RecordType, loose, annotations).encode()
		return u, err
	}
	if len(loose) > 0 {
		parts, err := artifact(PartsType, loose, nil).encode()
		if err != nil {
			return nil, err
		}
		u.parts = &parts
		roots = append(roots, v1.Descriptor{
			MediaType: parts.mediaType, ArtifactType: PartsType, Digest: hashOf(cache.DigestOf(parts.raw)), Size: int64(len(parts.raw)),
		})
	}
	u.record, err = document{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, ArtifactType: RecordType, Manifests: roots, Annotations: annotations,
	}.encode()
	return u, err
}

// layerOf describes a blob as a layer of an artifact, under the name that oras
// gives its file if no other has it.
func layerOf(b cache.Blob, titled bool) v1.Descriptor {
	d := v1.Descriptor{MediaType: types.MediaType(b.MediaType), Digest: hashOf(b.Digest), Size: b.Size}
	if d.MediaType == "" {
		d.MediaType = blobType
	}
	if b.Name != "" {
		d.Annotations = map[string]string{BlobAnnotation: b.Name}
		if titled {
			d.Annotations[titleAnnotation] = b.Name
		}
	}
	return d
}

// platformOf returns the platform of an image, for tools that choose by it.
func platformOf(m cache.Blob, out cache.Output) *v1.Platform {
	text := out.Attrs["platform"]
	if !types.MediaType(m.MediaType).IsImage() || m.Digest != out.Digest || text == "" || strings.Contains(text, ",") {
		return nil
	}
	p, err := v1.ParsePlatform(text)
	if err != nil {
		return nil
	}
	return p
}

// tree finds what the manifests of an entry name.
type tree struct {
	store  *cache.Store
	listed map[cache.Digest]cache.Blob
	inner  map[cache.Digest]bool // what some manifest names
	done   map[cache.Digest]bool
	order  []cache.Blob // manifests, inner ones first
}

func (t *tree) walk(b cache.Blob) error {
	if t.done[b.Digest] {
		return nil
	}
	t.done[b.Digest] = true
	raw, err := t.store.ReadBlob(b.Digest, maxManifest)
	if err != nil {
		return err
	}
	var d document
	if err := json.Unmarshal(raw, &d); err != nil {
		return fmt.Errorf("manifest %s: %w", b.Digest, err)
	}
	named := append(d.Layers, d.Manifests...)
	if d.Config != nil {
		named = append(named, *d.Config)
	}
	for _, n := range named {
		digest, err := cache.ParseDigest(n.Digest.String())
		if err != nil {
			return fmt.Errorf("manifest %s: %w", b.Digest, err)
		}
		t.inner[digest] = true
		if below, ok := t.listed[digest]; ok && isManifest(below) {
			if err := t.walk(below); err != nil {
				return err
			}
		}
	}
	t.order = append(t.order, b)
	return nil
}

// readRecord returns the envelope of a record that must be that of k.
func readRecord(raw []byte, k cache.Key) (*envelope, error) {
	var d document
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrUntrusted, err)
	}
	switch {
	case d.ArtifactType != RecordType:
		return nil, fmt.Errorf("%w: its artifact type is %.80q", ErrUntrusted, d.ArtifactType)
	case d.Annotations[KeyAnnotation] != k.String():
		return nil, fmt.Errorf("%w: it is the record of %.80q", ErrUntrusted, d.Annotations[KeyAnnotation])
	case d.Annotations[EnvelopeAnnotation] == "":
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, errors.New("it has no envelope"))
	}
	env, err := decodeEnvelope(d.Annotations[EnvelopeAnnotation])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return env, nil
}
