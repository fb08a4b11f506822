package remote

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/cache/cachetest"
)

// TestFetchToAFullDisk fetches to file systems of every size up to one that
// suffices.
func TestFetchToAFullDisk(t *testing.T) {
	host := newSource(t).host + "/acme"
	failed := cachetest.OnSmallDisks(t, func(n int) string { return fmt.Sprintf("size=%dk", n*8) }, "size=64m", fetching(t.Context(), host, func(err error) bool {
		return errors.Is(err, syscall.ENOSPC) && strings.Contains(err.Error(), "/") && !errors.Is(err, cache.ErrMiss)
	}))
	t.Logf("%d sizes were too small", failed)
}
