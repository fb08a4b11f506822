package registry

import (
	"errors"
	"io"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"bottlebuild/cache"
	"bottlebuild/tasks/progress"
)

var discard = progress.Discard{}

func TestReadImage(t *testing.T) {
	s := newStore(t)
	img := smallImage(t, 1, "arm64")
	desc := save(t, s, img)
	got, err := ReadImage(s, desc)
	if err != nil {
		t.Fatal(err)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	want := cache.Output{
		Digest: desc.Digest,
		Blobs:  []cache.Blob{desc, toBlob(t, "config", m.Config), toBlob(t, "layer", m.Layers[0]), toBlob(t, "layer", m.Layers[1]), toBlob(t, "layer", m.Layers[2])},
		Attrs:  map[string]string{"config": m.Config.Digest.String(), "mediaType": string(m.MediaType), "platform": "linux/arm64"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	bare, err := ReadImage(s, cache.Blob{Digest: desc.Digest})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, bare); diff != "" {
		t.Errorf("by digest only: %s", diff)
	}
	if _, err := ReadImage(s, cache.Blob{Digest: desc.Digest, Size: desc.Size, MediaType: "application/vnd.oci.image.index.v1+json"}); err == nil {
		t.Error("another media type was taken")
	}
}

func toBlob(t *testing.T, name string, d v1.Descriptor) cache.Blob {
	t.Helper()
	b, err := blobOf(name, d)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestReadImageOfIndex(t *testing.T) {
	s := newStore(t)
	shared := smallImage(t, 1, "amd64")
	desc := save(t, s, index(t, map[string]v1.Image{"amd64": shared, "arm64": smallImage(t, 2, "arm64")}))
	got, err := ReadImage(s, desc)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range got.Blobs {
		names = append(names, b.Name)
	}
	// Of the second image's layers, one equals one of the first's in content but not in compression.
	want := []string{"index", "manifest", "config", "layer", "layer", "layer", "manifest", "config", "layer", "layer", "layer"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]string{"mediaType": "application/vnd.oci.image.index.v1+json"}, got.Attrs); diff != "" {
		t.Error(diff)
	}
}

func TestReadImageNeedsAllBlobs(t *testing.T) {
	s := newStore(t)
	desc := save(t, s, index(t, map[string]v1.Image{"amd64": smallImage(t, 1, "amd64")}))
	whole, err := ReadImage(s, desc)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range whole.Blobs {
		path := s.BlobPath(b.Digest)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadImage(s, desc); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("without its %s: %v", b.Name, err)
		}
		if err := os.WriteFile(path, content[:len(content)-1], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadImage(s, desc); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("with a short %s: %v", b.Name, err)
		}
		put(t, s, content)
	}
	if _, err := ReadImage(s, desc); err != nil {
		t.Error(err)
	}
}

func TestViews(t *testing.T) {
	s := newStore(t)
	desc := save(t, s, index(t, map[string]v1.Image{"amd64": gzipImage(t, 1, "amd64"), "arm64": gzipImage(t, 5, "arm64")}))
	idx, err := Index(s, desc)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx); err != nil {
		t.Error(err)
	}
	if _, err := Image(s, desc); err == nil {
		t.Error("an index was taken for an image")
	}
	single := save(t, s, smallImage(t, 1, "amd64"))
	if _, err := Index(s, single); err == nil {
		t.Error("an image was taken for an index")
	}
	img, err := Image(s, single)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	out, err := ReadImage(s, single)
	if err != nil {
		t.Fatal(err)
	}
	diffIDs, err := partial.DiffIDs(img)
	if err != nil {
		t.Fatal(err)
	}
	for i, l := range layers { // gzip, zstd, plain tar
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := v1.SHA256(r)
		r.Close()
		if err != nil || got != diffIDs[i] {
			t.Errorf("layer %d holds %s, %v; want %s", i, got, err, diffIDs[i])
		}
	}
	damage(t, s, out.Blobs[4].Digest) // the layer that is plain tar
	r, err := layers[2].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("reading a damaged layer: %v", err)
	}
}
