package container

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
)

// stressed reports whether tests use their large counts.
func stressed() bool { return os.Getenv("BOTTLEBUILD_STRESS") == "1" }

// withLayer returns the document of an image with one more layer, which is
// written into a pipe rather than held in memory.
func withLayer(t *testing.T, b *Backend, write func(*tar.Writer) error) *document {
	t.Helper()
	_, doc, err := b.describe(backend.PackRequest{Image: backendtest.Image(t, b.conf.Store, backendtest.ImageConfig{}), Platform: backendtest.Platform})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	z, err := zstd.NewWriter(&packed, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	hash := sha256.New()
	w := tar.NewWriter(io.MultiWriter(z, hash))
	if err := errors.Join(write(w), w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	d, err := b.conf.Store.PutBytes(packed.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	doc.Layers = append(doc.Layers, layer{Digest: d, Size: int64(packed.Len()), DiffID: cache.Digest(hash.Sum(nil))})
	return doc
}

// mostMemory returns by how much the heap grew at most while f ran, in bytes.
func mostMemory(f func()) (most uint64) {
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	before := heap()
	done := make(chan struct{})
	watched := make(chan uint64)
	go func() {
		var most uint64
		for {
			most = max(most, heap())
			select {
			case <-done:
				watched <- most
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	f()
	close(done)
	if most = <-watched; most < before {
		return 0
	}
	return most - before
}

// TestManyEntries unpacks a layer of very many files, and gives one up that has
// more than are allowed.
func TestManyEntries(t *testing.T) {
	needRoot(t)
	n := 20_000
	if stressed() {
		n = 1_000_000
	}
	b := New(Config{Store: newStore(t), StateDir: t.TempDir(), Limits: Limits{Entries: int64(n) + 100}})
	doc := withLayer(t, b, func(w *tar.Writer) error {
		for i := range n {
			h := tar.Header{Typeflag: tar.TypeReg, Name: fmt.Sprintf("many/%03d/%07d", i/1000, i), Mode: 0o644}
			if i%1000 == 0 {
				h.Typeflag, h.Mode = tar.TypeDir, 0o755
			}
			if err := w.WriteHeader(&h); err != nil {
				return err
			}
		}
		return nil
	})
	var root string
	var err error
	start := time.Now()
	grown := mostMemory(func() { root, err = b.rootfs(t.Context(), doc, nil) })
	t.Logf("%d entries unpacked in %s, with %d MiB of memory", n, time.Since(start).Round(time.Millisecond), grown>>20)
	if err != nil {
		t.Fatal(err)
	}
	if grown > 96<<20+uint64(n)*512 {
		t.Errorf("unpacking took %d MiB of memory", grown>>20)
	}
	if last, err := os.Lstat(filepath.Join(root, fmt.Sprintf("many/%03d/%07d", (n-1)/1000, n-1))); err != nil || !last.Mode().IsRegular() {
		t.Errorf("the last file: %v, %v", last, err)
	}
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	b.conf.Limits.Entries = int64(n) / 2
	if _, err := b.rootfs(t.Context(), doc, nil); !errors.Is(err, errTooBig) {
		t.Errorf("with half of them allowed: %v, want errTooBig", err)
	}
	if left, err := os.ReadDir(b.rootfsDir()); err != nil || len(left) > 0 && !strings.HasSuffix(left[0].Name(), ".used") {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestBigHeaders has entries whose headers are as big as they can be: nothing of
// them is kept, and names and attributes that would be are bounded.
func TestBigHeaders(t *testing.T) {
	needRoot(t)
	const size = 900 << 10
	for name, tc := range map[string]struct {
		n      int
		header func(i int) tar.Header
		fails  bool
	}{
		"comments": {200, func(i int) tar.Header {
			return tar.Header{Name: fmt.Sprintf("d%d", i), PAXRecords: map[string]string{"comment": strings.Repeat("x", size), "path": fmt.Sprintf("d%d", i)}}
		}, false},
		"names": {2, func(int) tar.Header {
			return tar.Header{Name: strings.Repeat("d/", size/2)}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := New(Config{Store: newStore(t), StateDir: t.TempDir()})
			doc := withLayer(t, b, func(w *tar.Writer) error {
				for i := range tc.n {
					h := tc.header(i)
					h.Typeflag, h.Mode, h.Format = tar.TypeDir, 0o755, tar.FormatPAX
					if err := w.WriteHeader(&h); err != nil {
						return err
					}
				}
				return nil
			})
			var err error
			grown := mostMemory(func() { _, err = b.rootfs(t.Context(), doc, nil) })
			if (err != nil) != tc.fails {
				t.Errorf("unpack: %.500v, want an error: %v", err, tc.fails)
			}
			if grown > 96<<20 {
				t.Errorf("unpacking %d headers of %d KiB took %d MiB of memory", tc.n, size>>10, grown>>20)
			}
		})
	}
}
