package backendtest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// Platform is that of the suite's images: this machine's processor under Linux.
const Platform = "linux/" + runtime.GOARCH

// ImageConfig is what may differ between images of the suite.
type ImageConfig struct {
	Entrypoint []string
	Cmd        []string
	User       string   // default "node"; "-" for none
	Layers     [][]byte // further layers, uncompressed tars, on top of the suite's two
	Platform   string   // default [Platform]
}

// The suite's image, which tests of the backends may rely on:
//
//   - /bin/guest and a link to it for each tool that exists elsewhere too
//   - users root and node (1000:1000, home /home/node), node also in group staff (50)
//   - environment IMAGE=image, BOTH=image and a PATH; working directory /home/node
//   - a gzip layer with /gone and /dir/old, and a zstd layer that removes /gone,
//     and all that the first had in /dir

// Image puts an image of the suite into the store, as an image node would.
func Image(t testing.TB, s *cache.Store, c ImageConfig) cache.Output {
	t.Helper()
	if c.Platform == "" {
		c.Platform = Platform
	}
	switch c.User {
	case "":
		c.User = "node"
	case "-":
		c.User = ""
	}
	os, arch, _ := strings.Cut(c.Platform, "/")
	config := v1.ConfigFile{
		OS: os, Architecture: arch,
		RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			Entrypoint: c.Entrypoint, Cmd: c.Cmd, User: c.User, WorkingDir: "/home/node",
			Env: []string{"PATH=/usr/bin:/bin", "IMAGE=image", "BOTH=image"},
		},
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	var out cache.Output
	add := func(name string, mediaType types.MediaType, b []byte) v1.Descriptor {
		d, err := s.PutBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		out.Blobs = append(out.Blobs, cache.Blob{Name: name, MediaType: string(mediaType), Digest: d, Size: int64(len(b))})
		return v1.Descriptor{MediaType: mediaType, Size: int64(len(b)), Digest: v1.Hash{Algorithm: "sha256", Hex: d.Hex()}}
	}
	base := baseLayer(t)
	config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID(base.plain))
	manifest.Layers = append(manifest.Layers, add("layer", types.OCILayer, base.packed))
	for _, layer := range append([][]byte{topLayer(t)}, c.Layers...) {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID(layer))
		manifest.Layers = append(manifest.Layers, add("layer", types.OCILayerZStd, zstdOf(t, layer)))
	}
	manifest.Config = add("config", types.OCIConfigJSON, jsonOf(t, config))
	add("manifest", types.OCIManifestSchema1, jsonOf(t, manifest))
	out.Digest = cache.DigestOf(jsonOf(t, manifest))
	out.Attrs = map[string]string{"config": "sha256:" + manifest.Config.Digest.Hex}
	return out
}

// Tar is a layer in the making.
type Tar struct {
	t   testing.TB
	buf bytes.Buffer
	w   *tar.Writer
}

// NewTar starts a layer.
func NewTar(t testing.TB) *Tar {
	l := &Tar{t: t}
	l.w = tar.NewWriter(&l.buf)
	return l
}

// Add adds an entry; the size is that of the content.
func (l *Tar) Add(h tar.Header, content string) *Tar {
	l.t.Helper()
	if h.Size == 0 {
		h.Size = int64(len(content))
	}
	if err := l.w.WriteHeader(&h); err != nil {
		l.t.Fatal(err)
	}
	if _, err := l.w.Write([]byte(content)); err != nil {
		l.t.Fatal(err)
	}
	return l
}

// Dir adds a directory.
func (l *Tar) Dir(name string, mode int64, uid int) *Tar {
	l.t.Helper()
	return l.Add(tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: mode, Uid: uid, Gid: uid}, "")
}

// File adds a plain file of root's.
func (l *Tar) File(name string, mode int64, content string) *Tar {
	l.t.Helper()
	return l.Add(tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode}, content)
}

// Symlink adds a symbolic link.
func (l *Tar) Symlink(name, target string) *Tar {
	l.t.Helper()
	return l.Add(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, "")
}

// Bytes ends the layer and returns it.
func (l *Tar) Bytes() []byte {
	l.t.Helper()
	if err := l.w.Close(); err != nil {
		l.t.Fatal(err)
	}
	return l.buf.Bytes()
}

func diffID(layer []byte) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%x", sha256.Sum256(layer))}
}

type packedLayer struct{ plain, packed []byte }

// base is the first layer, made once in a test run since it holds the guest program.
var base struct {
	mu sync.Mutex
	packedLayer
}

func baseLayer(t testing.TB) packedLayer {
	t.Helper()
	base.mu.Lock()
	defer base.mu.Unlock()
	if base.plain != nil {
		return base.packedLayer
	}
	l := NewTar(t).
		Dir("bin/", 0o755, 0).Dir("etc/", 0o755, 0).Dir("home/", 0o755, 0).Dir("tmp/", 0o1777, 0).
		Dir("home/node/", 0o750, 1000).Dir("dir/", 0o755, 0).
		File("bin/guest", 0o755, string(guestBinary(t))).
		File("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/guest\nnode:x:1000:1000::/home/node:/bin/guest\n").
		File("etc/group", 0o644, "root:x:0:\nstaff:x:50:node\nnode:x:1000:\n").
		File("gone", 0o644, "of the first layer").
		File("dir/old", 0o644, "of the first layer").
		Dir("root/", 0o700, 0)
	for _, tool := range []string{"cat", "chmod", "chown", "echo", "env", "hostname", "id", "ls", "mkdir", "mv", "pwd", "rm", "setpriv", "stat", "tar", "test", "true"} {
		l.Symlink("bin/"+tool, "guest")
	}
	plain := l.Bytes()
	base.packedLayer = packedLayer{plain, gzipOf(t, plain)}
	return base.packedLayer
}

func topLayer(t testing.TB) []byte {
	return NewTar(t).File(".wh.gone", 0o644, "").
		Dir("dir/", 0o755, 0).File("dir/.wh..wh..opq", 0o644, "").File("dir/new", 0o600, "of the second layer").
		Bytes()
}

// guestBinary builds the guest program.
func guestBinary(t testing.TB) []byte {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", filepath.Join(dir, "guest"), "bottlebuild/tasks/backendtest/guest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the guest program: %v\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "guest"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func gzipOf(t testing.TB, b []byte) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := gzip.NewWriterLevel(&buf, gzip.BestSpeed)
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func zstdOf(t testing.TB, b []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(b, nil)
}

func jsonOf(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// freePort returns a TCP port of the loopback that nothing listens on.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
