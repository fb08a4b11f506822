package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mount mounts the machine's disk: the image below, the machine's own changes on
// top. Device files on it do not work; a machine has its own /dev. Neither layer
// can redirect the host to files elsewhere.
func (b *Backend) mount(name, lower string) error {
	options := "lowerdir=" + lower + ",upperdir=" + b.file(name, "upper") + ",workdir=" + b.file(name, "work") +
		",redirect_dir=nofollow,metacopy=off,index=off"
	if err := unix.Mount("overlay", b.file(name, "rootfs"), "overlay", unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	// On hosts that share their mounts, it need not show up in other namespaces.
	if err := unix.Mount("", b.file(name, "rootfs"), "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("mount the disk: %w", err)
	}
	return nil
}

// checkMountable reports a path that the options of an overlay cannot hold.
func checkMountable(path string) error {
	if strings.ContainsAny(path, ",:\\\n") {
		return fmt.Errorf("%q has one of , : \\ in it, which overlayfs cannot take; choose another directory", path)
	}
	return nil
}

// unmount takes away what is mounted at the path, as often as it is. It is no
// error if nothing is, or if there is no such path.
func unmount(path string) error {
	for {
		mounted, err := mountinfo.Mounted(path)
		if errors.Is(err, os.ErrNotExist) || err == nil && !mounted {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
		err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW)
		if err == unix.EBUSY { // someone looks around in it: it goes when they leave
			err = unix.Unmount(path, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH)
		}
		if err != nil && err != unix.EINVAL {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}

// refuseMounts reports whatever is mounted below dir, before that is removed
// with all that can be reached through it.
func refuseMounts(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%s is mounted there; unmount it first", found[0].Mountpoint)
	}
	return nil
}

// placeInit puts the init binary into the machine's directory: a link to it, so
// that a newer bottlebuild takes no file away from a machine that runs. On another
// file system it is a link to a copy that all machines share.
func (b *Backend) placeInit(name string) error {
	own := b.file(name, "init")
	if err := ignoreNotExist(os.Remove(own)); err != nil {
		return err
	}
	init, err := filepath.EvalSymlinks(b.conf.Init)
	if err != nil {
		return fmt.Errorf("init binary: %w", err)
	}
	if os.Link(init, own) == nil {
		return nil
	}
	fi, err := os.Stat(init)
	if err != nil {
		return fmt.Errorf("init binary: %w", err)
	}
	dir := filepath.Join(b.conf.StateDir, "init")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	st := fi.Sys().(*syscall.Stat_t)
	id := fmt.Sprintf("%x-%x-%x-%x", st.Dev, st.Ino, fi.Size(), fi.ModTime().UnixNano())
	shared := filepath.Join(dir, id)
	if err := os.Link(shared, own); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := copyExecutable(init, own); err != nil {
		return fmt.Errorf("copy init binary: %w", err)
	}
	old, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range old {
		if !strings.HasPrefix(e.Name(), id) {
			os.Remove(filepath.Join(dir, e.Name())) // those who use it have links
		}
	}
	if err := os.Link(own, shared); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

func copyExecutable(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := renameio.NewPendingFile(to, renameio.WithTempDir(filepath.Dir(to)), renameio.WithStaticPermissions(0o555))
	if err != nil {
		return err
	}
	defer out.Cleanup()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}
