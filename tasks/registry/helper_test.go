package registry

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// need returns the path of a program, without which the test is skipped, or
// fails where BOTTLEBUILD_REQUIRE=1 says that nothing may be missing.
func need(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		if os.Getenv("BOTTLEBUILD_REQUIRE") == "1" {
			t.Fatalf("%s is not installed", program)
		}
		t.Skipf("%s is not installed", program)
	}
	return path
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

func serve(t *testing.T, s *cache.Store) *Server {
	t.Helper()
	srv, err := Serve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv
}

// newClient returns a client whose connections end with the test.
func newClient(t *testing.T, s *cache.Store) (*Client, *countingTransport) {
	t.Helper()
	inner := http.DefaultTransport.(*http.Transport).Clone()
	ct := &countingTransport{inner: inner}
	t.Cleanup(inner.CloseIdleConnections)
	return &Client{Transport: ct, Store: s, pause: time.Millisecond}, ct
}

// countingTransport counts requests by what they do.
type countingTransport struct {
	inner                           http.RoundTripper
	requests, patches, gets, mounts atomic.Int64
}

func (c *countingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	switch {
	case r.Method == http.MethodPatch:
		c.patches.Add(1)
	case r.Method == http.MethodGet && r.URL.Path != "/v2/":
		c.gets.Add(1)
	case r.Method == http.MethodPost && r.URL.Query().Has("mount"):
		c.mounts.Add(1)
	}
	return c.inner.RoundTrip(r)
}

// layer makes a layer of one file of random bytes, the same for equal seeds.
func layer(t *testing.T, seed uint64, size int64, c compression.Compression) v1.Layer {
	t.Helper()
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			tw := tar.NewWriter(w)
			err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("file-%d", seed), Mode: 0o644, Size: size})
			if err == nil {
				_, err = io.CopyN(tw, rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}), size)
			}
			if err == nil {
				err = tw.Close()
			}
			w.CloseWithError(err)
		}()
		return r, nil
	}
	if c == compression.None {
		r, _ := open()
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return static.NewLayer(b, types.OCIUncompressedLayer)
	}
	mediaType := types.OCILayer
	if c == compression.ZStd {
		mediaType = types.OCILayerZStd
	}
	l, err := tarball.LayerFromOpener(open, tarball.WithCompression(c), tarball.WithMediaType(mediaType), tarball.WithCompressionLevel(1))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// image makes an OCI image of those layers for a platform.
func image(t *testing.T, architecture string, layers ...v1.Layer) v1.Image {
	t.Helper()
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
	return img
}

// smallImage has a layer of each compression.
func smallImage(t *testing.T, seed uint64, architecture string) v1.Image {
	t.Helper()
	return image(t, architecture,
		layer(t, seed, 5000, compression.GZip), layer(t, seed+1, 7000, compression.ZStd), layer(t, seed+2, 3000, compression.None))
}

// gzipImage is one that go-containerregistry's validate can read: it knows no
// other compression.
func gzipImage(t *testing.T, seed uint64, architecture string) v1.Image {
	t.Helper()
	return image(t, architecture, layer(t, seed, 5000, compression.GZip), layer(t, seed+1, 100, compression.GZip))
}

func index(t *testing.T, images map[string]v1.Image) v1.ImageIndex {
	t.Helper()
	idx := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "arm64"} {
		if img := images[arch]; img != nil {
			idx = mutate.AppendManifests(idx, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
		}
	}
	return idx
}

// save puts an image or an index into the store and returns its descriptor.
func save(t *testing.T, s *cache.Store, d partial.Describable) cache.Blob {
	t.Helper()
	switch d := d.(type) {
	case v1.ImageIndex:
		children, err := partial.Manifests(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range children {
			save(t, s, c)
		}
	case v1.Image:
		layers, err := d.Layers()
		if err != nil {
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
		config, err := d.RawConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, config)
	}
	raw, err := d.(partial.WithRawManifest).RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	mt, err := d.MediaType()
	if err != nil {
		t.Fatal(err)
	}
	return cache.Blob{Name: "manifest", MediaType: string(mt), Digest: put(t, s, raw), Size: int64(len(raw))}
}

func put(t *testing.T, s *cache.Store, b []byte) cache.Digest {
	t.Helper()
	d, err := s.PutBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// damage changes the last byte of a blob behind the store's back.
func damage(t *testing.T, s *cache.Store, d cache.Digest) {
	t.Helper()
	b, err := os.ReadFile(s.BlobPath(d))
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	if err := os.WriteFile(s.BlobPath(d), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// dockerRegistry starts a docker-registry on loopback and returns its address.
// auth is a section of its configuration, or empty.
func dockerRegistry(t *testing.T, auth string) string {
	t.Helper()
	program := need(t, "docker-registry")
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	dir := t.TempDir()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage:\n  filesystem: {rootdirectory: %s}\n  delete: {enabled: true}\nhttp: {addr: %q}\n%s", dir, addr, auth)
	file := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, program, "serve", file)
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		cmd.Wait()
	})
	for range 500 {
		c, err := net.Dial("tcp4", addr)
		if err == nil {
			c.Close()
			return addr
		}
		time.Sleep(20 * time.Millisecond)
	}
	cancel()
	cmd.Wait()
	t.Fatalf("docker-registry did not start: %s", log.String())
	return ""
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), need(t, program), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, stderr.String())
	}
	return string(out)
}
