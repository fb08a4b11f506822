package buildkit

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// A daemon that was killed leaves the mounts of the steps it ran.
func TestUnmountBelow(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	root := t.TempDir()
	below := filepath.Join(root, "executor", "x", "rootfs")
	inner := filepath.Join(below, "proc")
	for _, dir := range []string{below, inner} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
			t.Fatal(err)
		}
	}
	if err := unmountBelow(root); err != nil {
		t.Fatal(err)
	}
	if mounted, err := mountinfo.Mounted(below); err != nil || mounted {
		t.Errorf("still mounted: %v, %v", mounted, err)
	}
}
