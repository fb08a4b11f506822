package container

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/containerd/v2/pkg/archive"
	"golang.org/x/sys/unix"
)

// partialSuffix ends the name of a root file system that is being unpacked, or
// whose unpacking was cut off.
const partialSuffix = ".partial"

// lockSuffix ends the name of the lock of who unpacks it.
const lockSuffix = ".lock"

func (b *Backend) rootfsDir() string { return filepath.Join(b.conf.Store.Dir(), rootfsName("")) }

// rootfsName is the name, in the store's directory, of an unpacked image.
func rootfsName(chain string) string { return filepath.Join("rootfs", chain) }

func (b *Backend) rootfsPath(doc *document) string { return filepath.Join(b.rootfsDir(), doc.chain()) }

// hasRootfs reports whether the image is unpacked. A directory of that name is
// whole, since it gets the name when it is.
func (b *Backend) hasRootfs(doc *document) bool {
	fi, err := os.Lstat(b.rootfsPath(doc))
	return err == nil && fi.IsDir() && b.conf.Store.Use(rootfsName(doc.chain())) == nil
}

// rootfs returns the path of the unpacked image, and unpacks it from the store
// if it is not there. Whoever else wants the same one waits. log may be nil.
func (b *Backend) rootfs(ctx context.Context, doc *document, log io.Writer) (string, error) {
	path := b.rootfsPath(doc)
	b.sweepRootfs()
	if b.hasRootfs(doc) {
		return path, nil
	}
	if log == nil {
		log = io.Discard
	}
	if err := os.MkdirAll(b.rootfsDir(), 0o700); err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	unlock, err := lock(ctx, path+lockSuffix)
	if err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	defer unlock()
	if b.hasRootfs(doc) { // by whom we waited for
		return path, nil
	}
	partial := path + partialSuffix
	if err := b.unpack(ctx, doc, partial, log); err != nil {
		return "", errors.Join(fmt.Errorf("unpack: %w", err), os.RemoveAll(partial))
	}
	if err := os.Rename(partial, path); err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	if err := b.conf.Store.Use(rootfsName(doc.chain())); err != nil {
		return "", fmt.Errorf("unpack: %w", err)
	}
	return path, syncDir(b.rootfsDir())
}

// sweepRootfs removes what processes that have died left: what they had half
// unpacked, and their locks. What has a free lock has nobody at work on it.
func (b *Backend) sweepRootfs() {
	for _, suffix := range []string{partialSuffix, lockSuffix} {
		left, _ := filepath.Glob(filepath.Join(b.rootfsDir(), "*"+suffix))
		for _, name := range left {
			if unlock, ok := tryLock(strings.TrimSuffix(name, suffix) + lockSuffix); ok {
				if suffix == partialSuffix {
					os.RemoveAll(name) // failing that, it is tried again another time
				}
				unlock() // and remove the lock
			}
		}
	}
}

// unpack makes dir from the document's layers, durably.
func (b *Backend) unpack(ctx context.Context, doc *document, dir string, log io.Writer) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return err
	}
	left := &budget{limits: b.conf.Limits}
	for i, l := range doc.Layers {
		left.names = 0
		if err := b.apply(ctx, l, dir, left, log); err != nil {
			return fmt.Errorf("layer %d (%s): %w", i, l.Digest, err)
		}
		fmt.Fprintf(log, "unpacked layer %d of %d\n", i+1, len(doc.Layers))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return unix.Syncfs(int(d.Fd())) // one call for what would be a million
}

// apply unpacks one layer over those below it.
func (b *Backend) apply(ctx context.Context, l layer, dir string, left *budget, log io.Writer) error {
	r, err := openLayer(b.conf.Store, l, left)
	if err != nil {
		return err
	}
	defer r.Close()
	devices := 0
	_, err = archive.Apply(ctx, dir, r, archive.WithFilter(func(h *tar.Header) (bool, error) {
		if err := left.entry(h.Size); err != nil {
			return false, err
		}
		if h.Typeflag == tar.TypeChar || h.Typeflag == tar.TypeBlock {
			devices++
			return false, nil
		}
		if err := cleanEntry(h); err != nil {
			return false, err
		}
		return true, left.kept(h)
	}))
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		if damage := b.conf.Store.VerifyBlob(l.Digest); damage != nil && !errors.Is(err, damage) {
			return fmt.Errorf("%w (%w)", damage, err)
		}
		return err
	}
	if devices > 0 {
		fmt.Fprintf(log, "left out %d device files: a machine has its own /dev\n", devices)
	}
	return nil
}

// cleanEntry refuses an entry that points out of the root, which [archive.Apply]
// would move inside, and drops extended attributes that mean something to the
// host: those by which an overlay could be led to other files.
func cleanEntry(h *tar.Header) error {
	names := []string{h.Name}
	if h.Typeflag == tar.TypeLink { // a symbolic one may say anything: only the guest follows it
		names = append(names, h.Linkname)
	}
	for _, name := range names {
		if len(name) > unix.PathMax {
			return fmt.Errorf("entry %.200q…: its name has %d bytes, more than any path can", h.Name, len(name))
		}
		if rel := strings.TrimLeft(name, "/"); rel != "" && !filepath.IsLocal(rel) {
			return fmt.Errorf("entry %.200q: %.200q leaves the image's root; such an image is not to be trusted", h.Name, name)
		}
	}
	// The unpacker keeps headers of directories to its end. Strings are parts of the
	// whole extended header, of up to 1 MiB, that they were read from: cloned, they
	// are only themselves.
	h.Name, h.Linkname, h.Uname, h.Gname, h.Xattrs = strings.Clone(h.Name), strings.Clone(h.Linkname), "", "", nil //nolint:staticcheck // Xattrs is filled all the same
	const prefix = "SCHILY.xattr."
	var keep map[string]string
	for key, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(key, prefix); ok && keepXattr(name) {
			if keep == nil {
				keep = map[string]string{}
			}
			keep[strings.Clone(key)] = strings.Clone(value)
		}
	}
	h.PAXRecords = keep
	return nil
}

func keepXattr(name string) bool {
	return name == "security.capability" ||
		strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// ignoreNotExist is for removing what may be gone.
func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
