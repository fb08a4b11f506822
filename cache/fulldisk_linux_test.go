package cache_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFullDisk fills a store on file systems of every size, in blocks and in
// inodes, up to one that suffices.
func TestFullDisk(t *testing.T) {
	switch {
	case os.Geteuid() == 0:
	case os.Getenv("BOTTLEBUILD_REQUIRE") == "1":
		t.Fatal("mounting needs root, and BOTTLEBUILD_REQUIRE=1 wants everything tested")
	default:
		t.Skip("mounting needs root")
	}
	for _, limit := range []struct{ option, room string }{
		{"size=%dk", "size=64m"}, {"nr_inodes=%d", "nr_inodes=1000"},
	} {
		failed := 0
		for n, enough := 1, false; !enough; n++ {
			size := n
			if strings.HasPrefix(limit.option, "size") {
				size *= 4 // a block is of 4 KiB
			}
			option := fmt.Sprintf(limit.option, size)
			mount := filepath.Join(t.TempDir(), "m")
			if err := errors.Join(os.Mkdir(mount, 0o700), syscall.Mount("tmpfs", mount, "tmpfs", 0, "mode=700,"+option)); err != nil {
				t.Fatal(err)
			}
			err := func() error {
				defer syscall.Unmount(mount, syscall.MNT_DETACH)
				done, err := fill(filepath.Join(mount, "cache"))
				enough = err == nil
				if err != nil {
					failed++
					if !errors.Is(err, syscall.ENOSPC) || !namesPath(err) {
						return fmt.Errorf("it failed with: %w", err)
					}
				}
				if err := syscall.Mount("tmpfs", mount, "tmpfs", syscall.MS_REMOUNT, "mode=700,"+limit.room); err != nil {
					return err
				}
				return checkFilled(filepath.Join(mount, "cache"), done)
			}()
			if err != nil {
				t.Fatalf("%s: %v", option, err)
			}
		}
		t.Logf("%s: %d sizes were too small", limit.option, failed)
	}
}
