package remote

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"bottlebuild/cache"
)

// TestFetchToAFullDisk fetches to file systems of every size up to one that
// suffices.
func TestFetchToAFullDisk(t *testing.T) {
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("BOTTLEBUILD_REQUIRE") == "1":
		t.Fatal("mounting needs root, and BOTTLEBUILD_REQUIRE=1 wants everything tested")
	default:
		t.Skip("mounting needs root")
	}
	w := newSource(t)
	failed := 0
	for n, enough := 1, false; !enough; n++ {
		mount := filepath.Join(t.TempDir(), "m")
		option := fmt.Sprintf("mode=700,size=%dk", n*8)
		if err := errors.Join(os.Mkdir(mount, 0o700), syscall.Mount("tmpfs", mount, "tmpfs", 0, option)); err != nil {
			t.Fatal(err)
		}
		err := func() error {
			defer syscall.Unmount(mount, syscall.MNT_DETACH)
			err := fetchInto(t.Context(), w.host+"/acme", mount)
			enough = err == nil
			if err != nil {
				failed++
				if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "/") || errors.Is(err, cache.ErrMiss) {
					return fmt.Errorf("it failed with: %w", err)
				}
			}
			if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "mode=700,size=64m"); err != nil {
				return err
			}
			return checkFetched(t.Context(), w.host+"/acme", mount)
		}()
		if err != nil {
			t.Fatalf("%s: %v", option, err)
		}
	}
	t.Logf("%d sizes were too small", failed)
}
