package buildkit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/moby/buildkit/frontend/attestations"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// The types of attestations.
const (
	Provenance = attestations.KeyTypeProvenance
	SBOM       = attestations.KeyTypeSbom
)

// DefaultScanner is the image that makes bills of materials where none is named.
const DefaultScanner = "docker.io/docker/buildkit-syft-scanner:stable-1"

// Attested is the name of the blob in an output that is the index of the image
// together with its attestations; attestation is that of the blobs which only
// that index needs.
const (
	Attested    = "attested"
	attestation = "attestation"
)

// attestOpts adds what attestations are made: options by type, as the frontend
// takes them ("mode=max").
func attestOpts(opts, attest map[string]string) {
	for kind, o := range attest {
		opts["attest:"+kind] = o
	}
}

// unknown is what the platform of an attestation is said to be.
const unknown = "unknown"

// detach takes the attestations out of an image that was built with them: its
// digest is then that of the same image without any, which is the same in every
// build. They stay among its blobs.
func detach(store *cache.Store, attested cache.Output) (cache.Output, error) {
	top := attested.Blobs[0]
	raw, err := store.ReadBlob(top.Digest, 4<<20)
	if err != nil {
		return cache.Output{}, err
	}
	var index ocispecs.Index
	if err := json.Unmarshal(raw, &index); err != nil {
		return cache.Output{}, fmt.Errorf("parse index %s: %w", top.Digest, err)
	}
	var images []ocispecs.Descriptor
	for _, m := range index.Manifests {
		if m.Platform == nil || m.Platform.OS != unknown {
			images = append(images, m)
		}
	}
	if len(images) == len(index.Manifests) || len(images) == 0 {
		return cache.Output{}, errors.New("the builder made no attestations; it may be too old for them")
	}
	image := cache.Blob{MediaType: images[0].MediaType, Size: images[0].Size}
	if len(images) == 1 {
		if image.Digest, err = cache.ParseDigest(images[0].Digest.String()); err != nil {
			return cache.Output{}, err
		}
	} else {
		index.Manifests = images
		// As BuildKit writes it, so that it is the index that is made without attestations.
		if raw, err = json.MarshalIndent(index, "", "  "); err != nil {
			return cache.Output{}, err
		}
		image = cache.Blob{MediaType: string(types.OCIImageIndex), Size: int64(len(raw))}
		if image.Digest, err = store.PutBytes(raw); err != nil {
			return cache.Output{}, err
		}
	}
	out, err := registry.ReadImage(store, image)
	if err != nil {
		return cache.Output{}, err
	}
	if out.Attrs["platform"] == "" {
		names := strings.Split(attested.Attrs["platform"], ",")
		names = slices.DeleteFunc(names, func(n string) bool { return strings.HasPrefix(n, unknown) })
		out.Attrs["platform"] = strings.Join(names, ",")
	}
	has := map[cache.Digest]bool{}
	for _, b := range out.Blobs {
		has[b.Digest] = true
	}
	top.Name = Attested
	out.Blobs = append(out.Blobs, top)
	for _, b := range attested.Blobs[1:] {
		if !has[b.Digest] {
			b.Name = attestation
			out.Blobs = append(out.Blobs, b)
		}
	}
	return out, nil
}

// CheckAttestation says what is wrong with the options of an attestation.
func CheckAttestation(kind, options string) error {
	switch kind {
	case Provenance, SBOM:
	default:
		return fmt.Errorf("%q is not among provenance and sbom", kind)
	}
	_, err := attestations.Parse(map[string]string{"attest:" + kind: options})
	return err
}

// Scanner returns the image that makes the bill of materials, empty if there is
// to be none.
func Scanner(attest map[string]string) string {
	options, ok := attest[SBOM]
	if !ok {
		return ""
	}
	for o := range strings.SplitSeq(options, ",") {
		if ref, ok := strings.CutPrefix(o, "generator="); ok {
			return ref
		}
	}
	return DefaultScanner
}
