package archive

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"bottlebuild/cache"
)

func TestWriteReplaces(t *testing.T) {
	s := newStore(t)
	first, _ := image(t, s, "a", "amd64")
	second, _ := image(t, s, "b", "amd64")
	for _, format := range []string{OCI, Docker, OCIDir} {
		dir := t.TempDir()
		opt := Options{Format: format, Path: filepath.Join(dir, "x")}
		if format == OCIDir { // an empty directory is nobody's
			if err := os.Mkdir(opt.Path, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		mustWrite(t, s, first, opt)
		out := mustWrite(t, s, second, opt)
		if why, err := Check(t.Context(), s, out, opt); why != "" || err != nil {
			t.Errorf("%s: %q, %v", format, why, err)
		}
		if names := list(t, dir); !slices.Equal(names, []string{"x"}) {
			t.Errorf("%s: the directory holds %q", format, names)
		}
	}
}

// What is not ours is not removed.
func TestWriteRefuses(t *testing.T) {
	s := newStore(t)
	img, _ := image(t, s, "a", "amd64")
	for _, c := range []struct {
		name, format string
		prepare      func(path string) error
		want         string
	}{
		{"directory", OCI, func(p string) error { return os.Mkdir(p, 0o755) }, "not a plain file"},
		{"link", OCI, func(p string) error { return os.Symlink("elsewhere", p) }, "symbolic link"},
		{"link to a directory", OCIDir, func(p string) error { return os.Symlink(".", p) }, "symbolic link"},
		{"file", OCIDir, func(p string) error { return os.WriteFile(p, []byte("x"), 0o644) }, "cannot be opened"},
		{"other directory", OCIDir, func(p string) error { return os.MkdirAll(filepath.Join(p, "photos"), 0o755) }, "no OCI image layout"},
		{"another's layout", OCIDir, func(p string) error {
			_, err := layout.Write(p, empty.Index)
			return err
		}, "was not written by bottlebuild"},
		{"layout with more in it", OCIDir, func(p string) error {
			if _, err := Write(t.Context(), s, img, Options{Format: OCIDir, Path: p}); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(p, "blobs", "notes"), nil, 0o644)
		}, "also holds blobs/notes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "x")
			if err := c.prepare(path); err != nil {
				t.Fatal(err)
			}
			before, err := os.Lstat(path)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := Write(t.Context(), s, img, Options{Format: c.format, Path: path}); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v", err)
			}
			after, err := os.Lstat(path)
			if err != nil || !os.SameFile(before, after) {
				t.Errorf("it was replaced: %v", err)
			}
			if names := list(t, dir); len(names) != 1 {
				t.Errorf("left behind: %q", names)
			}
		})
	}
	for _, path := range []string{"relative", "", "/"} {
		if _, err := Write(t.Context(), s, img, Options{Format: OCI, Path: path}); err == nil {
			t.Errorf("path %q was taken", path)
		}
	}
	if _, err := Write(t.Context(), s, img, Options{Format: "zip", Path: "/tmp/x"}); err == nil {
		t.Error("format zip was taken")
	}
}

// A write that fails leaves what was there, and nothing else.
func TestFailedWriteLeavesNothing(t *testing.T) {
	for _, format := range []string{OCI, Docker, OCIDir} {
		s := newStore(t)
		img, _ := image(t, s, "a", "amd64")
		dir := t.TempDir()
		opt := Options{Format: format, Path: filepath.Join(dir, "x")}
		old := mustWrite(t, s, img, opt)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := Write(ctx, s, img, opt); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", format, err)
		}
		b, err := os.ReadFile(s.BlobPath(img.Blobs[2].Digest))
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(s.BlobPath(img.Blobs[2].Digest), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Write(t.Context(), s, img, opt); !errors.Is(err, cache.ErrDamaged) {
			t.Errorf("%s, damaged layer: %v", format, err)
		}
		if _, err := Write(t.Context(), s, img, opt); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("%s, missing layer: %v", format, err)
		}
		if why, err := Check(t.Context(), s, old, opt); why != "" || err != nil {
			t.Errorf("%s: the old one: %q, %v", format, why, err)
		}
		if names := list(t, dir); !slices.Equal(names, []string{"x"}) {
			t.Errorf("%s: left behind %q", format, names)
		}
	}
}

// Where directories cannot change places in one step, they do in two.
func TestSwapInTwoSteps(t *testing.T) {
	dir := t.TempDir()
	p, err := open(filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for _, d := range []string{"x/old", "new/new"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.swapInSteps("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("with nothing to put there: %v", err)
	}
	if names := list(t, filepath.Join(dir, "x")); !slices.Equal(names, []string{"old"}) {
		t.Errorf("after a failure: %q", names)
	}
	if err := p.swapInSteps("new"); err != nil {
		t.Fatal(err)
	}
	if names := list(t, filepath.Join(dir, "x")); !slices.Equal(names, []string{"new"}) {
		t.Errorf("%q", names)
	}
	if names := list(t, dir); !slices.Equal(names, []string{"x"}) {
		t.Errorf("left behind: %q", names)
	}
}

// A process that is killed while it writes a directory leaves a temporary one.
func TestLeftoversOfKilledProcessesAreSwept(t *testing.T) {
	s := newStore(t)
	img, _ := image(t, s, "a", "amd64")
	dir := t.TempDir()
	stale := filepath.Join(dir, ".x."+strings.Repeat("A", 26)+".tmp")
	foreign := filepath.Join(dir, ".x.notes.tmp")
	for _, d := range []string{filepath.Join(stale, "blobs"), foreign} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, s, img, Options{Format: OCIDir, Path: filepath.Join(dir, "x")})
	if _, err := os.Stat(stale); !os.IsNotExist(err) {
		t.Errorf("the leftover is still there: %v", err)
	}
	if _, err := os.Stat(foreign); err != nil {
		t.Errorf("what is not ours was removed: %v", err)
	}
}
