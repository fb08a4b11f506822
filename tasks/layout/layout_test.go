package layout

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bottlebuild/cache"
)

// TestHostile has layouts that lead elsewhere, never end, or are too large be
// refused.
func TestHostile(t *testing.T) {
	const file = `{"imageLayoutVersion": "1.0.0"}`
	d := cache.DigestOf([]byte("x"))
	blob := "blobs/sha256/" + d.Hex()
	for name, c := range map[string]struct {
		set  func(dir string) error
		want string
	}{
		"link out":     {func(dir string) error { return os.Symlink("/etc/hostname", filepath.Join(dir, blob)) }, "escapes"},
		"pipe":         {func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, blob), 0o600) }, "not a regular file"},
		"directory":    {func(dir string) error { return os.Mkdir(filepath.Join(dir, blob), 0o700) }, "not a regular file"},
		"too large":    {func(dir string) error { return os.WriteFile(filepath.Join(dir, blob), make([]byte, 11), 0o600) }, "over 10 bytes"},
		"other digest": {func(dir string) error { return os.WriteFile(filepath.Join(dir, blob), []byte("y"), 0o600) }, "damaged"},
		"version": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion": "2.0.0"}`), 0o600)
		}, "version"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(file), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := c.set(dir); err != nil {
				t.Fatal(err)
			}
			l, err := Open(dir)
			if err == nil {
				defer l.Close()
				_, err = l.ReadBlob(d, 10)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v", err)
			}
		})
	}
}
