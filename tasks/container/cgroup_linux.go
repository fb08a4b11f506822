package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupParent holds the cgroups of all machines.
const cgroupParent = "bottlebuild"

// cgroupDirs returns the machine's cgroups: one in version 2 of cgroups, one for
// each controller in version 1.
func cgroupDirs(id string) []string {
	var dirs []string
	for _, pattern := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/*/"} {
		found, _ := filepath.Glob(pattern + cgroupParent + "/" + id) // the pattern is well formed
		dirs = append(dirs, slices.DeleteFunc(found, func(dir string) bool { return !isCgroup(dir) })...)
	}
	return dirs
}

// isCgroup guards against a plain directory where a cgroup file system used to
// be: the numbers in its files would be those of anyone.
func isCgroup(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && (st.Type == unix.CGROUP_SUPER_MAGIC || st.Type == unix.CGROUP2_SUPER_MAGIC)
}

// removeCgroups kills what runs in the machine's cgroups and removes them. The
// runtime does that too; this is for one that did not live to do it.
func removeCgroups(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, cleanupTime)
	defer cancel()
	for _, dir := range cgroupDirs(id) {
		for {
			err := removeCgroup(dir)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("remove cgroup %s: %w (%w)", dir, err, ctx.Err())
			case <-time.After(10 * time.Millisecond): // for the killed to end
			}
		}
	}
	return nil
}

// removeCgroup tries once to empty and remove a cgroup with those below it.
func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreNotExist(err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return ignoreNotExist(err)
	}
	for line := range strings.Lines(string(b)) {
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 1 {
			unix.Kill(pid, unix.SIGKILL) // one that has ended meanwhile is fine
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
