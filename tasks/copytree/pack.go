// Package copytree copies a file or a directory through a tar archive, between a
// machine and its host. Neither has to trust the other: an archive is read
// within bounds, and nothing of it is written outside of where it is to go.
package copytree

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// Pack writes the file or the directory at the path, with all that is below it,
// as a tar archive. Its entries begin with name, which may be "." to stand for
// what is in the directory rather than for the directory. A symbolic link at
// the path itself is followed, and one below it is not. Hard links become files
// of their own; devices, pipes and sockets are left out.
func Pack(w io.Writer, file, name string) error {
	tw := tar.NewWriter(w)
	fi, err := os.Stat(file)
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		err = packFile(tw, file, name, fi)
	} else {
		err = packDir(tw, file, name)
	}
	if err != nil {
		return err
	}
	return tw.Close()
}

func packDir(tw *tar.Writer, dir, name string) error {
	root, err := os.OpenRoot(dir) // whoever changes the directory meanwhile leads nowhere else
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(p string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p != "." {
			return nil // removed meanwhile
		}
		if err != nil {
			return err
		}
		fi, err := root.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return packEntry(tw, root, p, path.Join(name, p), fi)
	})
}

func packEntry(tw *tar.Writer, root *os.Root, p, name string, fi fs.FileInfo) error {
	link := ""
	switch fi.Mode().Type() {
	case 0:
		f, err := root.Open(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		defer f.Close()
		return packOpen(tw, f, name)
	case fs.ModeDir:
	case fs.ModeSymlink:
		var err error
		if link, err = root.Readlink(p); err != nil {
			return err
		}
	default:
		return nil
	}
	h, err := tar.FileInfoHeader(fi, link)
	if err != nil {
		return err
	}
	return tw.WriteHeader(clean(h, name))
}

func packFile(tw *tar.Writer, file, name string, fi fs.FileInfo) error {
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a directory", file)
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	return packOpen(tw, f, name)
}

// packOpen writes an open file. One that grows meanwhile is cut off where it
// ended, and one that shrinks is an error, since the archive is broken then.
func packOpen(tw *tar.Writer, f *os.File, name string) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() { // by now
		return nil
	}
	h, err := tar.FileInfoHeader(fi, "")
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(clean(h, name)); err != nil {
		return err
	}
	if _, err := io.CopyN(tw, f, fi.Size()); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}

// clean leaves of a header what is of use on another machine: who owns the file
// is the receiver's choice.
func clean(h *tar.Header, name string) *tar.Header {
	c := &tar.Header{Typeflag: h.Typeflag, Name: name, Linkname: h.Linkname, Size: h.Size, Mode: h.Mode & 0o777, ModTime: h.ModTime, Format: tar.FormatPAX}
	if c.Typeflag == tar.TypeDir {
		c.Name += "/"
	}
	return c
}
