package smolvm

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/registry"
)

func openStore(t testing.TB) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// imageOf puts an image of plain layers into the store.
func imageOf(t *testing.T, store *cache.Store, layers ...[]byte) image {
	t.Helper()
	put := func(mediaType types.MediaType, b []byte) v1.Descriptor {
		d, err := store.PutBytes(b)
		if err != nil {
			t.Fatal(err)
		}
		return descriptor(mediaType, d, int64(len(b)))
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	c := v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, Config: v1.Config{User: "node", WorkingDir: "/home/node"}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	for _, l := range layers {
		d := put(types.OCIUncompressedLayer, l)
		c.RootFS.DiffIDs, m.Layers = append(c.RootFS.DiffIDs, d.Digest), append(m.Layers, d)
	}
	m.Config = put(types.OCIConfigJSON, encode(c))
	digest := cache.DigestOf(encode(m))
	put(types.OCIManifestSchema1, encode(m))
	img, err := choose(store, cache.Output{Digest: digest}, backendtest.Platform)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// flattened returns what is in the one layer, in order, and the image's output.
func flattened(t *testing.T, layers ...[]byte) ([]string, image, error) {
	t.Helper()
	store := openStore(t)
	img := imageOf(t, store, layers...)
	flat, err := flatten(t.Context(), store, img)
	if err != nil {
		return nil, image{}, err
	}
	return content(t, store, flat), flat, nil
}

func content(t *testing.T, store *cache.Store, img image) []string {
	t.Helper()
	v, err := registry.Image(store, img.manifest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := v.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(layers) != 1 {
		t.Fatalf("%d layers, want 1", len(layers))
	}
	c, err := v.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Config.User != "node" || c.Config.WorkingDir != "/home/node" || len(c.RootFS.DiffIDs) != 1 {
		t.Errorf("config = %+v", c)
	}
	rc, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	var list []string
	for tr := tar.NewReader(rc); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		s := fmt.Sprintf("%c %s %o", h.Typeflag, h.Name, h.Mode)
		if h.Linkname != "" {
			s += " -> " + h.Linkname
		}
		if b, err := io.ReadAll(tr); err != nil {
			t.Fatal(err)
		} else if len(b) > 0 && len(b) < 100 {
			s += " " + string(b)
		}
		list = append(list, s)
	}
}

// hardlink is an entry for a hard link.
func hardlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}

func TestFlatten(t *testing.T) {
	layer := func() *backendtest.Tar { return backendtest.NewTar(t) }
	for name, tc := range map[string]struct {
		layers [][]byte
		want   []string
	}{
		"file over file": {[][]byte{layer().File("x/f", 0o644, "old").Bytes(), layer().File("x/f", 0o600, "new").Bytes()},
			[]string{"5 x/ 755", "0 x/f 600 new"}},
		"whiteout": {[][]byte{layer().File("x/f", 0o644, "f").File("x/g", 0o644, "g").Bytes(), layer().File("x/.wh.f", 0, "").Bytes()},
			[]string{"5 x/ 755", "0 x/g 644 g"}},
		"whiteout of a directory that comes back": {[][]byte{layer().Dir("x", 0o755, 0).File("x/f", 0o644, "f").Bytes(), layer().File(".wh.x", 0, "").Dir("x", 0o700, 0).File("x/g", 0o644, "g").Bytes()},
			[]string{"5 x/ 700", "0 x/g 644 g"}},
		"whiteout after what its own layer adds": {[][]byte{layer().File("x/f", 0o644, "f").Bytes(), layer().Dir("x", 0o700, 0).File("x/g", 0o644, "g").File(".wh.x", 0, "").Bytes()},
			[]string{"5 x/ 700", "0 x/g 644 g"}},
		"opaque": {[][]byte{layer().File("x/f", 0o644, "f").File("x/y/z", 0o644, "z").Bytes(), layer().File("x/g", 0o644, "g").File("x/.wh..wh..opq", 0, "").Bytes()},
			[]string{"5 x/ 755", "0 x/g 644 g"}},
		"whiteout of nothing":    {[][]byte{layer().File("x/.wh.f", 0, "").File(".wh..wh.plnk", 0, "").File("g", 0o644, "g").Bytes()}, []string{"0 g 644 g"}},
		"directory becomes file": {[][]byte{layer().File("x/f", 0o644, "f").Bytes(), layer().File("x", 0o644, "now a file").Bytes()}, []string{"0 x 644 now a file"}},
		"file becomes directory": {[][]byte{layer().File("x", 0o644, "f").Bytes(), layer().Dir("x", 0o755, 0).File("x/f", 0o644, "f").Bytes()},
			[]string{"5 x/ 755", "0 x/f 644 f"}},
		"through a link": {[][]byte{layer().Dir("usr/lib", 0o755, 0).Symlink("lib", "usr/lib").Bytes(), layer().File("lib/f", 0o644, "f").File("lib/.wh.g", 0, "").Bytes()},
			[]string{"5 usr/ 755", "5 usr/lib/ 755", "2 lib 777 -> usr/lib", "0 usr/lib/f 644 f"}},
		"out of the image": {[][]byte{layer().Symlink("up", "../../../..").Bytes(), layer().File("up/f", 0o644, "f").File("../../g", 0o644, "g").Bytes()},
			[]string{"2 up 777 -> ../../../..", "0 f 644 f", "0 g 644 g"}},
		"hard link": {[][]byte{layer().File("a", 0o644, "one").Add(hardlink("b", "a"), "").Bytes()},
			[]string{"0 a 644 one", "1 b 644 -> a"}},
		"hard link into a lower layer": {[][]byte{layer().File("b", 0o644, "one").Bytes(), layer().Add(hardlink("a", "b"), "").Bytes()},
			[]string{"0 a 644 one", "1 b 644 -> a"}},
		"hard link to what is gone": {[][]byte{layer().File("a", 0o644, "one").Add(hardlink("b", "a"), "").Bytes(), layer().File(".wh.a", 0, "").Bytes()},
			[]string{"0 b 644 one"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := flattened(t, tc.layers...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlattenRefuses(t *testing.T) {
	layer := func() *backendtest.Tar { return backendtest.NewTar(t) }
	for name, l := range map[string][]byte{
		"hard link to nothing":        layer().Add(hardlink("a", "absent"), "").Bytes(),
		"hard link to a directory":    layer().Dir("etc", 0o755, 0).Add(hardlink("a", "etc"), "").Bytes(),
		"below a file":                layer().File("etc", 0o644, "f").File("etc/x", 0o644, "x").Bytes(),
		"below a loop of links":       layer().Symlink("a", "b").Symlink("b", "a").File("a/x", 0o644, "x").Bytes(),
		"name longer than the kernel": layer().File(strings.Repeat("x/", maxPath)+"x", 0o644, "x").Bytes(),
		"not a tar":                   bytes.Repeat([]byte("nonsense"), 200),
	} {
		if got, _, err := flattened(t, l); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestFlattenIsDeterministic(t *testing.T) {
	layer := backendtest.NewTar(t)
	for i := range 50 {
		layer.File(fmt.Sprintf("many/%d", i), 0o644, "x")
	}
	b := layer.Bytes()
	_, first, err := flattened(t, b)
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := flattened(t, b)
	if err != nil {
		t.Fatal(err)
	}
	if first.manifest != second.manifest || first.config != second.config {
		t.Errorf("%+v and %+v", first, second)
	}
}

func TestFlattenCancelled(t *testing.T) {
	store := openStore(t)
	img := imageOf(t, store, backendtest.NewTar(t).File("f", 0o644, "f").Bytes())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := flatten(ctx, store, img); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v, want context.Canceled", err)
	}
}

// TestFlattenKeepsAttributes is for what a driver of virtual machines would miss.
func TestFlattenKeepsAttributes(t *testing.T) {
	store := openStore(t)
	xattr := map[string]string{"SCHILY.xattr.security.capability": "\x01\x00\x00\x02"}
	l := backendtest.NewTar(t).
		Add(tar.Header{Typeflag: tar.TypeReg, Name: "ping", Mode: 0o4755, Uid: 7, Gid: 8, PAXRecords: xattr, Format: tar.FormatPAX}, "x").
		Add(tar.Header{Typeflag: tar.TypeChar, Name: "dev0", Mode: 0o600, Devmajor: 1, Devminor: 3}, "")
	img := imageOf(t, store, l.Bytes())
	flat, err := flatten(t.Context(), store, img)
	if err != nil {
		t.Fatal(err)
	}
	v, err := registry.Image(store, flat.manifest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := v.Layers()
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]tar.Header{}
	err = eachEntry(t.Context(), layers[0], func(_ int, h *tar.Header, _ io.Reader) error {
		found[h.Name] = *h
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ping, dev := found["ping"], found["dev0"]
	if ping.Mode != 0o4755 || ping.Uid != 7 || ping.Gid != 8 || !maps.Equal(ping.PAXRecords, xattr) {
		t.Errorf("ping = %+v", ping)
	}
	if dev.Typeflag != tar.TypeChar || dev.Devmajor != 1 || dev.Devminor != 3 {
		t.Errorf("dev0 = %+v", dev)
	}
}
