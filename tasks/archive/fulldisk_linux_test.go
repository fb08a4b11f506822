package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"

	"bottlebuild/tasks/registry"
)

func TestFullDisk(t *testing.T) {
	need(t, os.Geteuid() == 0, "root, to mount a tmpfs,")
	s := newStore(t)
	img, _ := image(t, s, "a", "amd64")
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		need(t, false, "the right to mount a tmpfs ("+err.Error()+")")
	}
	t.Cleanup(func() { unix.Unmount(dir, 0) })
	content := []byte(strings.Repeat("more than the disk holds", 10_000))
	put(t, s, content)
	plain := static.NewLayer(content, types.OCIUncompressedLayer)
	with, err := registry.Image(s, img.Blobs[0])
	if err != nil {
		t.Fatal(err)
	}
	with, err = mutate.AppendLayers(with, plain)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := with.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, raw)
	out := manifest(t, s, with)
	for _, format := range []string{OCI, Docker, OCIDir} {
		if _, err := Write(t.Context(), s, out, Options{Format: format, Path: filepath.Join(dir, "x")}); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("%s: %v", format, err)
		}
		if names := list(t, dir); len(names) != 0 {
			t.Errorf("%s: left behind %q", format, names)
		}
	}
}
