package cache_test

import (
	"fmt"
	"syscall"
	"testing"

	"bottlebuild/cache/cachetest"
)

// TestFullDisk fills a store on file systems of every size, in blocks and in
// inodes, up to one that suffices.
func TestFullDisk(t *testing.T) {
	for name, limit := range map[string]struct {
		options func(n int) string
		room    string
	}{
		"size":   {func(n int) string { return fmt.Sprintf("size=%dk", 4*n) }, "size=64m"}, // a block is of 4 KiB
		"inodes": {func(n int) string { return fmt.Sprintf("nr_inodes=%d", n) }, "nr_inodes=1000"},
	} {
		failed := cachetest.OnSmallDisks(t, limit.options, limit.room, filling(syscall.ENOSPC))
		t.Logf("%s: %d were too small", name, failed)
	}
}
