package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/compression"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"go.uber.org/goleak"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// need fails, where BOTTLEBUILD_REQUIRE=1 says that nothing may be missing, or
// else skips the test.
func need(t *testing.T, have bool, what string) {
	t.Helper()
	switch {
	case have:
	case os.Getenv("BOTTLEBUILD_REQUIRE") == "1":
		t.Fatalf("%s is needed", what)
	default:
		t.Skipf("%s is needed", what)
	}
}

func skopeo(t *testing.T, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("skopeo")
	need(t, err == nil, "skopeo")
	cmd := exec.CommandContext(t.Context(), program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("skopeo %q: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

func newStore(t *testing.T) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(t.TempDir(), "store"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func layer(t *testing.T, content string, c compression.Compression) v1.Layer {
	t.Helper()
	var b bytes.Buffer
	tw := tar.NewWriter(&b)
	if err := tw.WriteHeader(&tar.Header{Name: "file", Mode: 0o644, Size: int64(len(content))}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(tw, content)
	tw.Close()
	mediaType := types.OCILayer
	switch c {
	case compression.None:
		return static.NewLayer(b.Bytes(), types.OCIUncompressedLayer)
	case compression.ZStd:
		mediaType = types.OCILayerZStd
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
	l, err := tarball.LayerFromOpener(open, tarball.WithCompression(c), tarball.WithMediaType(mediaType))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// image puts an image with a layer of each compression, and one of them twice,
// into the store.
func image(t *testing.T, s *cache.Store, seed, architecture string) (cache.Output, v1.Image) {
	t.Helper()
	zstd := layer(t, "zstd "+seed+strings.Repeat("z", 200_000), compression.ZStd)
	layers := []v1.Layer{layer(t, "gzip "+seed, compression.GZip), zstd, layer(t, "plain "+seed, compression.None), zstd}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layers...)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.PutBlob(r); err != nil {
			t.Fatal(err)
		}
		r.Close()
	}
	raw, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, raw)
	return manifest(t, s, img), img
}

func put(t *testing.T, s *cache.Store, b []byte) cache.Digest {
	t.Helper()
	d, err := s.PutBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func manifest(t *testing.T, s *cache.Store, m partial.WithRawManifest) cache.Output {
	t.Helper()
	raw, err := m.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	out, err := registry.ReadImage(s, cache.Blob{Digest: put(t, s, raw)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func index(t *testing.T, s *cache.Store, images ...v1.Image) cache.Output {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, img := range images {
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: config.OS, Architecture: config.Architecture}}})
	}
	return manifest(t, s, idx)
}

func mustWrite(t *testing.T, s *cache.Store, img cache.Output, opt Options) cache.Output {
	t.Helper()
	out, err := Write(t.Context(), s, img, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const imageName = "bottlebuild/agent-claude:v1"

func untar(t *testing.T, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files := map[string][]byte{}
	var names []string
	for tr := tar.NewReader(f); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 || h.Mode != 0o644 && h.Typeflag != tar.TypeDir {
			t.Errorf("header of %s: %+v", h.Name, h)
		}
		if files[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.IsSorted(names) {
		t.Errorf("not in order: %q", names)
	}
	return files
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
