package container

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// hierarchy is where cgroups are mounted: version 2 there, or version 1 with a
// directory for each controller, or both, version 2 then at "unified".
type hierarchy string

const cgroups hierarchy = "/sys/fs/cgroup"

// controllers are those by which machines are bounded.
var controllers = []string{"cpu", "memory", "pids"}

// check looks for the controllers.
func (h hierarchy) check() error {
	v2, err := os.ReadFile(filepath.Join(string(h), "cgroup.controllers"))
	has := strings.Fields(string(v2))
	for _, c := range controllers {
		found := err == nil && slices.Contains(has, c)
		if err != nil {
			_, serr := os.Stat(filepath.Join(string(h), c, "cgroup.procs"))
			found = serr == nil
		}
		if !found {
			return fmt.Errorf("the cgroup controller %s is not there: mount cgroups at %s", c, h)
		}
	}
	return nil
}

// hybrid reports what crun refuses: version 1 with controllers in a version 2
// beside it.
func (h hierarchy) hybrid() bool {
	b, err := os.ReadFile(filepath.Join(string(h), "unified", "cgroup.controllers"))
	return err == nil && len(bytes.TrimSpace(b)) > 0
}

// countSwap reports whether the kernel can bound swap; asked to where it cannot,
// runtimes fail.
func (h hierarchy) countSwap() bool {
	for _, pattern := range []string{"memory/memory.memsw.limit_in_bytes", "*/memory.swap.max"} {
		if found, _ := filepath.Glob(filepath.Join(string(h), pattern)); len(found) > 0 {
			return true
		}
	}
	return false
}
