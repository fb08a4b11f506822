package machineinit

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/user"

	"bottlebuild/tasks/copytree"
)

// copyFile writes the file beside its place and renames it there, so that a
// reader sees all of it or what was there before. A link in its place is
// replaced, not followed. Directories that it makes belong to the owner too.
func copyFile(owner, octal, path string, content *os.File) (err error) {
	mode, err := strconv.ParseUint(octal, 8, 12)
	if err != nil {
		return fmt.Errorf("mode: %w", err)
	}
	u, err := lookupUser(owner)
	if err != nil {
		return err
	}
	path = filepath.Clean(path)
	if !filepath.IsAbs(path) || path == "/" {
		return errors.New("its path is not absolute")
	}
	if fi, err := os.Lstat(path); err == nil && fi.IsDir() {
		return errors.New("it is a directory")
	}
	if err := makeParents(filepath.Dir(path), u); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".bottlebuild-")
	if err != nil {
		return err
	}
	defer func() {
		f.Close()
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if _, err := f.ReadFrom(content); err != nil {
		return err
	}
	if err := f.Chown(u.Uid, u.Gid); err != nil {
		return err
	}
	if err := syscall.Fchmod(int(f.Fd()), uint32(mode)); err != nil { // after chown, which clears bits
		return err
	}
	return os.Rename(f.Name(), path)
}

func makeParents(dir string, u *user.ExecUser) error {
	at := "/"
	for part := range strings.SplitSeq(strings.Trim(dir, "/"), "/") {
		at = filepath.Join(at, part)
		err := os.Mkdir(at, 0o755)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			err = os.Lchown(at, u.Uid, u.Gid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// unpack copies what an archive holds to path, for the owner.
func unpack(owner, path string, archive io.Reader) error {
	u, err := lookupUser(owner)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(path) {
		return errors.New("its path is not absolute")
	}
	return copytree.Receive(archive, path, copytree.Options{
		Own: func(root *os.Root, name string) error { return root.Lchown(name, u.Uid, u.Gid) },
	})
}
