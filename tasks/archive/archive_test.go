package archive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"bottlebuild/cache"
)

func TestSkopeoReadsWhatIsWritten(t *testing.T) {
	s := newStore(t)
	img, _ := image(t, s, "a", "arm64")
	dir := t.TempDir()
	for _, c := range []struct{ format, path, ref string }{
		{OCI, "a.tar", "oci-archive:%s"},
		{OCI, "a.tar", "oci-archive:%s:v1"},
		{Docker, "deep/er/d.tar", "docker-archive:%s"},
		{Docker, "deep/er/d.tar", "docker-archive:%s:docker.io/" + imageName},
		{OCIDir, "layout", "oci:%s:v1"},
	} {
		path := filepath.Join(dir, c.path)
		mustWrite(t, s, img, Options{Format: c.format, Path: path, Name: imageName})
		ref := fmt.Sprintf(c.ref, path)
		if out := skopeo(t, "inspect", ref); !strings.Contains(out, `"Architecture": "arm64"`) {
			t.Errorf("%s: %s", ref, out)
		}
		// A copy reads and checks each layer.
		skopeo(t, "copy", ref, "dir:"+t.TempDir())
	}
}

func TestLayoutIsWhole(t *testing.T) {
	s := newStore(t)
	_, amd := image(t, s, "a", "amd64")
	_, arm := image(t, s, "b", "arm64")
	img := index(t, s, amd, arm)
	path := filepath.Join(t.TempDir(), "layout")
	mustWrite(t, s, img, Options{Format: OCIDir, Path: path})
	idx, err := layout.ImageIndexFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(idx, validate.Fast); err != nil {
		t.Error(err)
	}
	m, err := idx.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 1 || m.Manifests[0].Digest.String() != img.Digest.String() || m.Manifests[0].Annotations != nil {
		t.Errorf("%+v", m)
	}
}

func TestDockerArchive(t *testing.T) {
	s := newStore(t)
	img, from := image(t, s, "a", "amd64")
	path := filepath.Join(t.TempDir(), "d.tar")
	mustWrite(t, s, img, Options{Format: Docker, Path: path, Name: "agent"})
	got, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := got.Layers()
	if err != nil {
		t.Fatal(err)
	}
	want, err := partial.DiffIDs(from)
	if err != nil {
		t.Fatal(err)
	}
	var have []v1.Hash
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		h, _, err := v1.SHA256(r)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		have = append(have, h)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
	zstd := []byte{0x28, 0xb5, 0x2f, 0xfd}
	for name, content := range untar(t, path) {
		if bytes.HasPrefix(content, zstd) {
			t.Errorf("%s is in zstd, which older engines cannot load", name)
		}
		if name == "manifest.json" {
			var m []struct {
				Config           string
				RepoTags, Layers []string
			}
			if err := json.Unmarshal(content, &m); err != nil {
				t.Fatal(err)
			}
			if len(m) != 1 || !slices.Equal(m[0].RepoTags, []string{"docker.io/library/agent:latest"}) || len(m[0].Layers) != 4 || m[0].Layers[1] != m[0].Layers[3] {
				t.Errorf("manifest.json: %s", content)
			}
		}
	}
}

func TestDockerArchiveHoldsOnePlatform(t *testing.T) {
	s := newStore(t)
	_, amd := image(t, s, "a", "amd64")
	_, arm := image(t, s, "b", "arm64")
	attestation := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	raw, err := attestation.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, raw)
	unknown, err := mutate.ConfigFile(attestation, &v1.ConfigFile{OS: "unknown", Architecture: "unknown"})
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = unknown.RawConfigFile(); err != nil {
		t.Fatal(err)
	}
	put(t, s, raw)
	manifest(t, s, unknown)
	opt := Options{Format: Docker, Path: filepath.Join(t.TempDir(), "d.tar")}
	if _, err := Write(t.Context(), s, index(t, s, amd, arm), opt); err == nil || !strings.Contains(err.Error(), `use format "oci"`) {
		t.Errorf("two platforms: %v", err)
	}
	mustWrite(t, s, index(t, s, arm, unknown), opt)
}

// Equal images give equal bytes, in whatever store and at whatever place.
func TestWriteIsDeterministic(t *testing.T) {
	for _, format := range []string{OCI, Docker, OCIDir} {
		var digests []cache.Digest
		var bytes [][]byte
		for i := range 2 {
			s := newStore(t)
			img, _ := image(t, s, "a", "amd64")
			path := filepath.Join(t.TempDir(), fmt.Sprint("x", i))
			out := mustWrite(t, s, img, Options{Format: format, Path: path, Name: imageName})
			digests = append(digests, out.Digest)
			if format != OCIDir {
				b, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				bytes = append(bytes, b)
				want := cache.Output{Digest: cache.DigestOf(b), Bytes: int64(len(b)), Attrs: map[string]string{"path": path}}
				if diff := cmp.Diff(want, out); diff != "" {
					t.Errorf("%s: %s", format, diff)
				}
			}
		}
		if digests[0] != digests[1] || len(bytes) == 2 && string(bytes[0]) != string(bytes[1]) {
			t.Errorf("%s: two writes differ", format)
		}
	}
}
