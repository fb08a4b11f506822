package container

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/platforms"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// MediaType is that of a pack's document.
const MediaType = "application/vnd.bottlebuild.bundle.v1+json"

// documentVersion is raised when a field changes its meaning.
const documentVersion = 1

// Bounds of what is read of an image before its layers, in bytes and numbers.
const (
	maxManifest = 4 << 20 // as registries have it
	maxConfig   = 8 << 20
	maxLayers   = 512
)

// document is the artifact of a pack: a small, deterministic JSON text that says
// which layers make the root file system, and what of the image's configuration
// counts at run time.
type document struct {
	Version  int          `json:"version"`
	Platform string       `json:"platform"`
	Manifest cache.Digest `json:"manifest"`
	Config   cache.Digest `json:"config"`
	Layers   []layer      `json:"layers"`
	Run      runConfig    `json:"run"`
}

// layer is one layer, bottom first. DiffID is the digest of its plain tar.
type layer struct {
	Digest cache.Digest `json:"digest"`
	Size   int64        `json:"size"`
	DiffID cache.Digest `json:"diffID"`
}

type runConfig struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	Env        []string `json:"env,omitempty"`
	User       string   `json:"user,omitempty"`
	Workdir    string   `json:"workdir,omitempty"`
	StopSignal string   `json:"stopSignal,omitempty"`
}

// chain identifies the root file system that the layers make, whatever their
// compression: the chain ID of the OCI image specification.
func (d *document) chain() string {
	ids := make([]digest.Digest, len(d.Layers))
	for i, l := range d.Layers {
		ids[i] = digest.Digest(l.DiffID.String())
	}
	if len(ids) == 0 {
		return cache.DigestOf(nil).Hex()
	}
	return identity.ChainID(ids).Encoded()
}

// Pack implements [backend.Backend]. The artifact is deterministic; the image's
// own blobs are part of the output, since the root file system is made of them.
func (b *Backend) Pack(ctx context.Context, req backend.PackRequest) (cache.Output, error) {
	out, doc, err := b.describe(req)
	if err != nil {
		return cache.Output{}, fmt.Errorf("pack image %s: %w", req.Image.Digest, err)
	}
	if _, err := b.rootfs(ctx, doc, req.Log); err != nil {
		return cache.Output{}, fmt.Errorf("pack image %s: %w", req.Image.Digest, err)
	}
	return out, nil
}

// describe reads the image and puts the document into the store.
func (b *Backend) describe(req backend.PackRequest) (out cache.Output, doc *document, err error) {
	want, err := platforms.Parse(req.Platform)
	if err != nil {
		return out, nil, fmt.Errorf("platform %q: %w", req.Platform, err)
	}
	raw, manifestDigest, err := b.manifest(req.Image.Digest, want)
	if err != nil {
		return out, nil, err
	}
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return out, nil, fmt.Errorf("manifest %s: %w", manifestDigest, err)
	}
	configDigest, err := digestOf(m.Config.Digest)
	if err != nil {
		return out, nil, fmt.Errorf("manifest %s: config: %w", manifestDigest, err)
	}
	rawConfig, err := b.conf.Store.ReadBlob(configDigest, maxConfig)
	if err != nil {
		return out, nil, fmt.Errorf("image config: %w", err)
	}
	config, err := v1.ParseConfigFile(bytes.NewReader(rawConfig))
	if err != nil {
		return out, nil, fmt.Errorf("image config %s: %w", configDigest, err)
	}
	has := platforms.Normalize(ocispec.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant})
	if !platforms.Only(want).Match(has) {
		return out, nil, fmt.Errorf("it is for %s, not for %s", platforms.Format(has), platforms.Format(want))
	}
	layers, blobs, err := b.layers(m, config)
	if err != nil {
		return out, nil, err
	}
	doc = &document{
		Version: documentVersion, Platform: platforms.Format(has), Manifest: manifestDigest, Config: configDigest, Layers: layers,
		Run: runConfig{
			Entrypoint: config.Config.Entrypoint, Cmd: config.Config.Cmd, Env: config.Config.Env,
			User: config.Config.User, Workdir: config.Config.WorkingDir, StopSignal: config.Config.StopSignal,
		},
	}
	if err := doc.check(); err != nil {
		return out, nil, err
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return out, nil, err
	}
	if out.Digest, err = b.conf.Store.PutBytes(text); err != nil {
		return out, nil, err
	}
	out.Blobs = append([]cache.Blob{
		{Name: "bundle", MediaType: MediaType, Digest: out.Digest, Size: int64(len(text))},
		{Name: "manifest", MediaType: string(m.MediaType), Digest: manifestDigest, Size: int64(len(raw))},
		{Name: "config", MediaType: string(m.Config.MediaType), Digest: configDigest, Size: int64(len(rawConfig))},
	}, blobs...)
	return out, doc, nil
}

// manifest returns the image's manifest: the blob itself, or if that is an index
// its entry for the platform.
func (b *Backend) manifest(d cache.Digest, want ocispec.Platform) ([]byte, cache.Digest, error) {
	raw, err := b.conf.Store.ReadBlob(d, maxManifest)
	if err != nil {
		return nil, d, fmt.Errorf("manifest: %w", err)
	}
	var head struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests []v1.Descriptor `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, d, fmt.Errorf("manifest %s: %w", d, err)
	}
	if !head.MediaType.IsIndex() && len(head.Manifests) == 0 {
		return raw, d, nil
	}
	match := platforms.Only(want)
	for _, m := range head.Manifests {
		if m.Platform == nil || !m.MediaType.IsImage() {
			continue
		}
		p := platforms.Normalize(ocispec.Platform{OS: m.Platform.OS, Architecture: m.Platform.Architecture, Variant: m.Platform.Variant})
		if !match.Match(p) {
			continue
		}
		child, err := digestOf(m.Digest)
		if err != nil {
			return nil, d, fmt.Errorf("index %s: %w", d, err)
		}
		raw, err := b.conf.Store.ReadBlob(child, maxManifest)
		if err != nil {
			return nil, child, fmt.Errorf("manifest: %w", err)
		}
		return raw, child, nil
	}
	return nil, d, fmt.Errorf("index %s has no image for %s", d, platforms.Format(want))
}

// layers pairs the manifest's layers with the config's diff IDs.
func (b *Backend) layers(m *v1.Manifest, config *v1.ConfigFile) (layers []layer, blobs []cache.Blob, err error) {
	ids := config.RootFS.DiffIDs
	if len(m.Layers) != len(ids) || len(ids) > maxLayers {
		return nil, nil, fmt.Errorf("its manifest has %d layers and its config %d; they must agree, and be %d at most", len(m.Layers), len(ids), maxLayers)
	}
	for i, desc := range m.Layers {
		if !desc.MediaType.IsLayer() || !desc.MediaType.IsDistributable() {
			return nil, nil, fmt.Errorf("layer %d: media type %.80q is no layer that can be unpacked", i, desc.MediaType)
		}
		l := layer{Size: desc.Size}
		if l.Digest, err = digestOf(desc.Digest); err == nil {
			l.DiffID, err = digestOf(ids[i])
		}
		if err == nil {
			err = b.conf.Store.HasBlob(l.Digest, l.Size)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
		layers = append(layers, l)
		blobs = append(blobs, cache.Blob{Name: "layer", MediaType: string(desc.MediaType), Digest: l.Digest, Size: l.Size})
	}
	return layers, blobs, nil
}

func digestOf(h v1.Hash) (cache.Digest, error) { return cache.ParseDigest(h.String()) }

// check reports what in the document no machine can be made from.
func (d *document) check() error {
	if d.Version != documentVersion {
		return fmt.Errorf("it has format %d; this bottlebuild knows %d", d.Version, documentVersion)
	}
	for _, e := range d.Run.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return fmt.Errorf("the image's env has %.80q, which is not NAME=VALUE", e)
		}
	}
	if w := d.Run.Workdir; w != "" && !strings.HasPrefix(w, "/") {
		return fmt.Errorf("the image's working directory %.80q is not absolute", w)
	}
	_, err := d.stopSignal()
	return err
}

// document reads the document of a pack.
func (b *Backend) document(pack cache.Output) (*document, error) {
	text, err := b.conf.Store.ReadBlob(pack.Digest, maxConfig)
	if err != nil {
		return nil, err
	}
	d := &document{}
	if err := json.Unmarshal(text, d); err != nil {
		return nil, fmt.Errorf("it is no pack of the container backend: %w", err)
	}
	if len(d.Layers) > maxLayers {
		return nil, errors.New("it has too many layers")
	}
	return d, d.check()
}

// CheckPack implements [backend.Backend]. A pack is usable if its document is
// there, and the unpacked image or all that it can be made from again.
func (b *Backend) CheckPack(ctx context.Context, pack cache.Output) error {
	doc, err := b.document(pack)
	if err == nil && !b.hasRootfs(doc) {
		err = b.hasLayers(doc)
	}
	if err != nil {
		return fmt.Errorf("check pack %s: %w", pack.Digest, err)
	}
	return ctx.Err()
}

func (b *Backend) hasLayers(doc *document) error {
	for _, l := range doc.Layers {
		if err := b.conf.Store.HasBlob(l.Digest, l.Size); err != nil {
			return fmt.Errorf("its unpacked image is gone, and so is a layer: %w", err)
		}
	}
	return nil
}
