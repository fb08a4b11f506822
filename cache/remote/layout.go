// Package remote is the shared cache: entries and their blobs in OCI registries,
// signed, found by key, and fetched when something needs them.
//
// docs/cache.md describes the layout for other tools, and the threat model.
package remote

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// The artifact types and media types of what is written to a registry.
const (
	// RecordType is the artifactType of the manifest or index that is the record
	// of one key.
	RecordType = "application/vnd.bottlebuild.action.v1"
	// PartsType is the artifactType of a manifest that keeps what belongs to an
	// image's record and that no manifest of the image names.
	PartsType = "application/vnd.bottlebuild.parts.v1"
	// IndexType is the artifactType of a snapshot index's manifest, and
	// IndexBlobType the media type of the one layer in it.
	IndexType     = "application/vnd.bottlebuild.index.v1"
	IndexBlobType = "application/vnd.bottlebuild.index.v1+zstd"

	blobType  = "application/octet-stream" // of blobs without a media type
	emptyType = "application/vnd.oci.empty.v1+json"
)

// The annotations of a record and of its layers.
const (
	KeyAnnotation      = "vnd.bottlebuild.key"      // the key, as sha256:HEX
	KindAnnotation     = "vnd.bottlebuild.kind"     // "image", "pack", "push"
	EnvelopeAnnotation = "vnd.bottlebuild.envelope" // the signed statement: DSSE, as JSON
	BlobAnnotation     = "vnd.bottlebuild.blob"     // of a layer: what the producer calls it

	titleAnnotation   = "org.opencontainers.image.title"   // OCI image-spec: the file name that oras gives it
	createdAnnotation = "org.opencontainers.image.created" // OCI image-spec
)

// Scope tells records of builders that are trusted from those of builders that
// run what anybody proposes. Each has a repository of its own, since that is
// what registries give permissions for.
type Scope string

// The scopes.
const (
	Trusted   Scope = "trusted"
	Untrusted Scope = "pr"
)

// repository is the name of the scope's repository below the cache's prefix.
func (s Scope) repository() string {
	if s == Untrusted {
		return "bb-cache-pr"
	}
	return "bb-cache"
}

// recordTag is the tag of the record of k.
func recordTag(k cache.Key) string { return "ac-" + k.Hex() }

// indexTag is the moving tag of a project's snapshot index.
func indexTag(project string) string { return "ix-" + slug(project) }

// slug makes a tag's tail of any text.
func slug(s string) string {
	const most = 100 // of the 128 characters of a tag
	var b strings.Builder
	for _, r := range s {
		switch {
		case b.Len() == most:
			return b.String()
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			b.WriteRune(r)
		default:
			b.WriteByte('-')
		}
	}
	if b.Len() == 0 {
		return "default"
	}
	return b.String()
}

// emptyConfig is the config of artifacts that have none (OCI image-spec,
// manifest.md, "Guidance for an Empty Descriptor").
var emptyConfig = []byte("{}")

func isManifest(b cache.Blob) bool {
	t := types.MediaType(b.MediaType)
	return t.IsImage() || t.IsIndex()
}

// Bounds of what is read from a registry.
const (
	maxManifest = 4 << 20 // bytes; what the OCI distribution spec asks registries to take
	maxRecipe   = 1 << 20 // bytes
	maxBlobs    = 4096    // of one record
	maxBlobSize = 1 << 40 // bytes
)
