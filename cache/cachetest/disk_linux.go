package cachetest

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// OnSmallDisks does the work on file systems with the mount options for 1, 2, 3, …
// up to one that suffices, which all get those for room before they are checked. It
// returns how many were too small.
func OnSmallDisks(t *testing.T, options func(n int) string, room string, w Work) (failed int) {
	t.Helper()
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("BOTTLEBUILD_REQUIRE") == "1":
		t.Fatal("mounting needs root, and BOTTLEBUILD_REQUIRE=1 wants everything tested")
	default:
		t.Skip("mounting needs root")
	}
	for n := 1; ; n++ {
		mount := filepath.Join(t.TempDir(), "m")
		if err := errors.Join(os.Mkdir(mount, 0o700), syscall.Mount("tmpfs", mount, "tmpfs", 0, "mode=700,"+options(n))); err != nil {
			t.Fatal(err)
		}
		var tried error
		err := func() error {
			defer syscall.Unmount(mount, syscall.MNT_DETACH)
			tried = w.Try(mount)
			if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "mode=700,"+room); err != nil {
				return err
			}
			return w.check(mount, tried)
		}()
		if err != nil {
			t.Fatalf("%s: %v", options(n), err)
		}
		if tried == nil {
			return failed
		}
		failed++
	}
}
