package archive

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// large is enough of a layer for the stat table to be kept.
var large = strings.Repeat("large enough to be remembered ", 20_000)

func TestCheck(t *testing.T) {
	s := newStore(t)
	img, _ := image(t, s, large, "amd64")
	blob := "blobs/sha256/" + img.Digest.Hex()
	change := func(path string) error { // keeps size and mtime
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		fi, err := os.Stat(path)
		if err != nil {
			return err
		}
		b[len(b)-1] ^= 1
		if err := os.WriteFile(path, b, 0o644); err != nil {
			return err
		}
		return os.Chtimes(path, fi.ModTime(), fi.ModTime())
	}
	cases := []struct {
		name, format string
		do           func(path string) error
		want         string
	}{
		{"file untouched", OCI, func(string) error { return nil }, ""},
		{"file touched", OCI, func(p string) error { return os.Chtimes(p, time.Now(), time.Now()) }, ""},
		{"file gone", OCI, os.Remove, "it is gone"},
		{"parent gone", OCI, func(p string) error { return os.RemoveAll(filepath.Dir(p)) }, "it is gone"},
		{"parent a file", OCI, func(p string) error {
			return errors.Join(os.RemoveAll(filepath.Dir(p)), os.WriteFile(filepath.Dir(p), nil, 0o644))
		}, "it is gone"},
		{"file changed", OCI, change, "its content has changed"},
		{"file cut", Docker, func(p string) error { return os.Truncate(p, 100) }, "its content has changed"},
		{"file a link", OCI, func(p string) error { return errors.Join(os.Rename(p, p+"2"), os.Symlink(p+"2", p)) }, "it is a symbolic link now"},
		{"file a directory", OCI, func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, "it is not a plain file any more"},
		{"directory untouched", OCIDir, func(string) error { return nil }, ""},
		{"directory gone", OCIDir, os.RemoveAll, "it is gone"},
		{"directory a file", OCIDir, func(p string) error { return errors.Join(os.RemoveAll(p), os.WriteFile(p, nil, 0o644)) }, "it is not a directory any more"},
		{"blob gone", OCIDir, func(p string) error { return os.Remove(filepath.Join(p, blob)) }, "its content has changed"},
		{"blob changed", OCIDir, func(p string) error { return change(filepath.Join(p, blob)) }, "its content has changed"},
		{"file more", OCIDir, func(p string) error { return os.WriteFile(filepath.Join(p, "more"), nil, 0o644) }, "its content has changed"},
		{"pipe in it", OCIDir, func(p string) error { return unix.Mkfifo(filepath.Join(p, "pipe"), 0o644) }, "it holds pipe, which is not a plain file"},
	}
	var opts []Options
	var outs []cache.Output
	for _, c := range cases {
		opt := Options{Format: c.format, Path: filepath.Join(t.TempDir(), "below", "x")}
		opts, outs = append(opts, opt), append(outs, mustWrite(t, s, img, opt))
	}
	time.Sleep(2100 * time.Millisecond) // until the files are old enough to be remembered
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			for range 2 { // read, then remembered
				if why, err := Check(t.Context(), s, outs[i], opts[i]); why != "" || err != nil {
					t.Fatalf("before: %q, %v", why, err)
				}
			}
			if err := c.do(opts[i].Path); err != nil {
				t.Fatal(err)
			}
			why, err := Check(t.Context(), s, outs[i], opts[i])
			if err != nil || why != c.want {
				t.Errorf("%q, %v; want %q", why, err, c.want)
			}
		})
	}
}

// A file that has not changed is not read again: here one whose content was
// changed below the file system's notice, as far as stat tells.
func TestCheckRemembers(t *testing.T) {
	s := newStore(t)
	img, _ := image(t, s, large, "amd64")
	opt := Options{Format: Docker, Path: filepath.Join(t.TempDir(), "x")}
	out := mustWrite(t, s, img, opt)
	time.Sleep(2100 * time.Millisecond)
	if why, err := Check(t.Context(), s, out, opt); why != "" || err != nil {
		t.Fatalf("%q, %v", why, err)
	}
	table := s.ReadStatTable(opt.Path)
	f, err := os.Open(opt.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stamp, err := stampOf(f)
	if err != nil {
		t.Fatal(err)
	}
	r := table.Lookup("", stamp)
	if r == nil || r.Digest != out.Digest {
		t.Fatalf("remembered: %+v", r)
	}
	table.Put("", &cache.StatRecord{FileStamp: stamp, Digest: cache.DigestOf([]byte("told from read"))})
	if err := s.WriteStatTable(table); err != nil {
		t.Fatal(err)
	}
	if why, err := Check(t.Context(), s, out, opt); why == "" || err != nil {
		t.Errorf("the file was read: %q, %v", why, err)
	}
}
