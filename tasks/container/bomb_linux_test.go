package container

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bottlebuild/cache"
	"bottlebuild/tasks/backendtest"
)

// zeroBytes is a reader of n zero bytes.
func zeroBytes(n int64) io.Reader { return io.LimitReader(zeroReader{}, n) }

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// bomb is a layer of one file of n zeros, compressed: small, whatever n is.
func bomb(t *testing.T, compress func(io.Writer) (io.WriteCloser, error), n int64) []byte {
	t.Helper()
	var buf bytes.Buffer
	w, err := compress(&buf)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewWriter(w)
	err = archive.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "zeros", Mode: 0o644, Size: n})
	if err == nil {
		_, err = io.Copy(archive, zeroBytes(n))
	}
	if err := errors.Join(err, archive.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestDecompressionBomb reads layers that unpack to far more than they are, and
// than the limit: they are given up when that is reached, in little memory.
func TestDecompressionBomb(t *testing.T) {
	const unpacked, limit, memory = 512 << 20, 8 << 20, 64 << 20
	for name, compress := range map[string]func(io.Writer) (io.WriteCloser, error){
		"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) },
		"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w, zstd.WithEncoderConcurrency(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			packed := bomb(t, compress, unpacked)
			s := newStore(t)
			d, err := s.PutBytes(packed)
			if err != nil {
				t.Fatal(err)
			}
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			left := &budget{limits: Limits{Bytes: limit, Entries: 10}}
			r, err := openLayer(s, layer{Digest: d, Size: int64(len(packed)), DiffID: cache.DigestOf(nil)}, left)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			read, err := io.Copy(io.Discard, r)
			runtime.ReadMemStats(&after)
			if !errors.Is(err, errTooBig) || read > 2*limit {
				t.Errorf("%d bytes of %d were read, then: %v", read, int64(unpacked), err)
			}
			if grown := after.TotalAlloc - before.TotalAlloc; grown > memory {
				t.Errorf("%d MiB were allocated on the way", grown>>20)
			}
		})
	}
}

// TestOddEntries has names that no file system takes, headers that are too big,
// and directories that turn into links to outside between two entries.
func TestOddEntries(t *testing.T) {
	pax := func(name, value string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{name: value}}
	}
	for name, tc := range map[string]struct {
		layer func(l *backendtest.Tar, host string)
		fails bool
	}{
		"line end in a name":    {func(l *backendtest.Tar, _ string) { l.File("a\nb", 0o644, "x") }, false},
		"name that is too long": {func(l *backendtest.Tar, _ string) { l.File(strings.Repeat("a", 300), 0o644, "x") }, true},
		"huge attribute": {func(l *backendtest.Tar, _ string) {
			l.Add(pax("SCHILY.xattr.user.big", strings.Repeat("x", 900<<10)), "x")
		}, true},
		"directory becomes a link": {func(l *backendtest.Tar, host string) {
			l.Dir("d", 0o755, 0).Symlink("d", host).File("d/pwned", 0o644, "x")
		}, false},
		"file becomes a directory": {func(l *backendtest.Tar, _ string) {
			l.File("d", 0o644, "x").Dir("d", 0o755, 0).File("d/x", 0o644, "x")
		}, false},
		"many attributes": {func(l *backendtest.Tar, _ string) {
			h := pax("SCHILY.xattr.user.a0", "x")
			for i := range 2000 {
				h.PAXRecords[fmt.Sprintf("SCHILY.xattr.user.a%d", i)] = "x"
			}
			l.Add(h, "x")
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := t.TempDir()
			l := backendtest.NewTar(t)
			tc.layer(l, host)
			_, err := unpackLayers(t, Limits{}, l.Bytes())
			if (err != nil) != tc.fails {
				t.Errorf("Pack = %v, want an error: %v", err, tc.fails)
			}
			if err != nil && len(err.Error()) > 2000 {
				t.Errorf("the error has %d characters", len(err.Error()))
			}
			wantEmpty(t, host)
		})
	}
}

func wantEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("the host's directory has %v, %v", entries, err)
	}
}
