//go:build linux

package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"bottlebuild/tasks/smolvm/fakesmolvm/pulled"
	"bottlebuild/tasks/smolvm/sidecar"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// unpackImage unpacks every layer. Below 1.17.0, layers of an image of several
// are copied over each other and nothing is ever taken away.
func unpackImage(img pulled.Image, from, dir string) error {
	for i := range img.Layers {
		f, err := os.Open(pulled.Layer(from, i))
		if err != nil {
			return err
		}
		err = unpack(f, dir, img.Layers == 1 || atLeast("1.17.0"))
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return os.MkdirAll(dir, 0o755)
}

// unpackSidecar unpacks the assets of a sidecar. It does not check the CRC.
func unpackSidecar(file *os.File, dir string) (sidecar.Manifest, error) {
	fi, err := file.Stat()
	if err != nil {
		return sidecar.Manifest{}, err
	}
	s, err := sidecar.Open(file, fi.Size())
	if err != nil {
		return sidecar.Manifest{}, err
	}
	z, err := zstd.NewReader(s.Assets())
	if err != nil {
		return sidecar.Manifest{}, err
	}
	defer z.Close()
	return s.Manifest, unpack(z, dir, true)
}

// unpack writes the files of a tar below dir and nowhere else.
func unpack(r io.Reader, dir string, whiteouts bool) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := unpackEntry(root, h, tr, whiteouts); err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, content io.Reader, whiteouts bool) error {
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	dir, base := path.Split(name)
	switch {
	case base == "":
		return nil
	case strings.HasPrefix(base, whiteout) && !whiteouts:
		return nil
	case base == opaque:
		return empty(root, dir)
	case strings.HasPrefix(base, whiteout):
		return root.RemoveAll(path.Join(dir, strings.TrimPrefix(base, whiteout)))
	}
	if dir != "" {
		if err := root.MkdirAll(path.Clean(dir), 0o755); err != nil {
			return err
		}
	}
	if fi, err := root.Lstat(name); err == nil && !(fi.IsDir() && h.Typeflag == tar.TypeDir) {
		if err := root.RemoveAll(name); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := root.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	case tar.TypeLink:
		return root.Link(strings.TrimPrefix(path.Clean("/"+h.Linkname), "/"), name)
	case tar.TypeSymlink:
		if err := root.Symlink(h.Linkname, name); err != nil {
			return err
		}
		return root.Lchown(name, h.Uid, h.Gid)
	default:
		return nil // devices and the like are the agent's to make
	}
	if err := root.Lchown(name, h.Uid, h.Gid); err != nil {
		return err
	}
	if err := root.Chmod(name, h.FileInfo().Mode()); err != nil {
		return err
	}
	return writeXattrs(root, name, h)
}

// xattrPrefix is how a tar calls extended attributes.
const xattrPrefix = "SCHILY.xattr."

func writeXattrs(root *os.Root, name string, h *tar.Header) error {
	for k, v := range h.PAXRecords {
		attr, ok := strings.CutPrefix(k, xattrPrefix)
		if !ok {
			continue
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		err = unix.Fsetxattr(int(f.Fd()), attr, []byte(v), 0)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func readXattrs(path string, h *tar.Header) error {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, list)
	if errors.Is(err, unix.ENOTSUP) || n == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	for attr := range strings.SplitSeq(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, attr, value)
		if err != nil {
			return err
		}
		if h.PAXRecords == nil {
			h.PAXRecords, h.Format = map[string]string{}, tar.FormatPAX
		}
		h.PAXRecords[xattrPrefix+attr] = string(value[:n])
	}
	return nil
}

// empty takes away what is in a directory.
func empty(root *os.Root, dir string) error {
	dir = path.Clean(dir)
	entries, err := fs.ReadDir(root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
