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
	"strings"
	"time"
)

// Limits bound what is read of one archive; a zero field stands for the default.
type Limits struct {
	Entries int   // 1,000,000 by default
	Bytes   int64 // of files, unpacked; 64 GiB by default
}

const (
	defaultEntries = 1_000_000
	defaultBytes   = 64 << 30
)

// Options are those of [Receive].
type Options struct {
	Limits
	// Own is called for everything that is made, parents of the destination
	// included, by its name in root; nil: it belongs to whoever runs this.
	Own func(root *os.Root, name string) error
}

// Receive reads an archive of one file or directory, as [Pack] writes it, and
// copies it to dst, as cp -r does: if that is a directory, or ends in a slash,
// into it under its own name; else as dst. Parents are made as needed. An entry
// that would lie elsewhere is an error. A file or link that is in the place of
// an entry is replaced, not followed.
func Receive(archive io.Reader, dst string, o Options) error {
	if o.Entries == 0 {
		o.Entries = defaultEntries
	}
	if o.Bytes == 0 {
		o.Bytes = defaultBytes
	}
	tr := tar.NewReader(archive)
	first, err := tr.Next()
	if err == io.EOF {
		return errors.New("the archive is empty")
	}
	if err != nil {
		return err
	}
	top := topOf(first.Name)
	dir, as := filepath.Clean(dst), top
	fi, err := os.Stat(dst)
	switch {
	case err == nil && fi.IsDir():
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	case err == nil && (strings.HasSuffix(dst, "/") || first.Typeflag == tar.TypeDir):
		return fmt.Errorf("%s is no directory", dst)
	case strings.HasSuffix(dst, "/"), top == ".":
	default:
		dir, as = filepath.Dir(dst), filepath.Base(dst)
	}
	if err := makeDir(dir, o.Own); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := &receiver{root: root, tr: tr, top: top, as: as, o: o}
	for h := first; ; {
		if err := r.entry(h); err != nil {
			return fmt.Errorf("%.200q: %w", h.Name, err)
		}
		if h, err = tr.Next(); err == io.EOF {
			return r.finish()
		} else if err != nil {
			return err
		}
	}
}

// topOf is the element with which the entries of an archive begin.
func topOf(name string) string {
	first, _, _ := strings.Cut(path.Clean(name), "/")
	return first
}

// makeDir makes a directory with its parents.
func makeDir(dir string, own func(*os.Root, string) error) error {
	fi, err := os.Stat(dir)
	if err == nil && !fi.IsDir() {
		return fmt.Errorf("%s is no directory", dir)
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent, own); err != nil {
		return err
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.Mkdir(filepath.Base(dir), 0o755); err != nil {
		return err
	}
	if own != nil {
		return own(root, filepath.Base(dir))
	}
	return nil
}

type receiver struct {
	root    *os.Root
	tr      *tar.Reader
	top, as string
	o       Options
	// dirs get their mode and time at the end, when no more is written to them.
	dirs []*tar.Header
}

// place returns where an entry goes.
func (r *receiver) place(name string) (string, error) {
	rel := path.Clean(name)
	if !filepath.IsLocal(rel) || topOf(rel) != r.top && r.top != "." {
		return "", errors.New("it lies outside of what is copied; such an archive is not to be trusted")
	}
	if r.top != "." {
		rel = path.Join(r.as, strings.TrimPrefix(rel, r.top))
	}
	return rel, nil
}

func (r *receiver) entry(h *tar.Header) error {
	r.o.Entries--
	r.o.Bytes -= max(h.Size, 0)
	if r.o.Entries < 0 || r.o.Bytes < 0 {
		return errors.New("there is more in the archive than is copied at once: copy less")
	}
	name, err := r.place(h.Name)
	if err != nil {
		return err
	}
	if h.Typeflag != tar.TypeDir && name != "." {
		if err := r.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err // a directory with something in it
		}
		if err := r.root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
	}
	switch h.Typeflag {
	case tar.TypeDir:
		if err := r.root.MkdirAll(name, 0o700); err != nil {
			return err
		}
		h.Name = name
		r.dirs = append(r.dirs, h)
	case tar.TypeReg:
		if err := r.file(name, h); err != nil {
			return err
		}
	case tar.TypeSymlink:
		if err := r.root.Symlink(h.Linkname, name); err != nil {
			return err
		}
	case tar.TypeLink:
		to, err := r.place(h.Linkname)
		if err != nil {
			return err
		}
		return r.root.Link(to, name)
	default: // devices and pipes
		return nil
	}
	return r.own(name)
}

func (r *receiver) own(name string) error {
	if r.o.Own == nil || name == "." {
		return nil
	}
	return r.o.Own(r.root, name)
}

func (r *receiver) file(name string, h *tar.Header) error {
	f, err := r.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r.tr)
	if err == nil {
		err = f.Chmod(fs.FileMode(h.Mode & 0o777))
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = r.root.Chtimes(name, time.Time{}, h.ModTime)
	}
	return err
}

// finish gives directories what would have been in the way before.
func (r *receiver) finish() error {
	for i := len(r.dirs) - 1; i >= 0; i-- {
		h := r.dirs[i]
		if h.Name == "." {
			continue // it was there before
		}
		if err := r.root.Chmod(h.Name, fs.FileMode(h.Mode&0o777)); err != nil {
			return err
		}
		if err := r.root.Chtimes(h.Name, time.Time{}, h.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// Rename copies an archive of one file or directory, as [Pack] writes it, with
// its first element called as, if that is not empty, and each header changed.
func Rename(w io.Writer, archive io.Reader, as string, change func(*tar.Header)) error {
	tr, tw := tar.NewReader(archive), tar.NewWriter(w)
	top := ""
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return tw.Close()
		}
		if err != nil {
			return err
		}
		if top == "" {
			top = topOf(h.Name)
		}
		if rest, ok := strings.CutPrefix(path.Clean(h.Name), top); ok && as != "" && top != "." {
			h.Name = as + rest
		}
		change(h)
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(tw, tr); err != nil {
			return err
		}
	}
}
