package container

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

// TestManyOfOnePack boots machines in parallel from one pack: they share one
// unpacked image, to which no boot writes, and have a disk of their own each.
func TestManyOfOnePack(t *testing.T) {
	b := newBench(t)
	before := inodes(t, b.rootfsDir())
	const n = 20
	var all sync.WaitGroup
	for i := range n {
		name := fmt.Sprintf("m%d", i)
		t.Cleanup(func() { b.must(b.Delete(context.WithoutCancel(t.Context()), name)) })
		all.Go(func() {
			err := b.Create(t.Context(), backend.Spec{Name: name, MemoryMiB: 64, CPUs: 1}, b.pack)
			if err == nil {
				err = b.Start(t.Context(), name)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range n {
		b.wantState(fmt.Sprintf("m%d", i), backend.Running)
	}
	b.guest("m0", "write", "/mine", "x")
	if code, _ := b.guest("m1", "test", "-e", "/mine"); code == 0 {
		t.Error("a machine has a file of another one's")
	}
	if diff := cmp.Diff(before, inodes(t, b.rootfsDir())); diff != "" {
		t.Errorf("the unpacked image has changed (-before +after):\n%s", diff)
	}
}

// inodes tells of every file below dir what changes if it is written.
func inodes(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		files[path] = fmt.Sprint(st.Ino, fi.Size(), fi.Mode(), st.Ctim)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
