package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// Check tells whether what [Write] returned out for is still at opt.Path. It
// returns an empty reason if it is, or else why not, for people to read; err is
// a failure to find out. The digests of large files are kept in the store's stat
// tables, so that a file which has not changed is not read again.
func Check(ctx context.Context, store *cache.Store, out cache.Output, opt Options) (reason string, err error) {
	c := check{ctx: ctx, start: time.Now(), known: store.ReadStatTable(filepath.Clean(opt.Path))}
	found, reason, err := c.look(opt)
	if err != nil {
		return "", fmt.Errorf("check %s: %w", opt.Path, err)
	}
	if reason == "" && found.digest() != out.Digest {
		reason = "its content has changed"
	}
	if err := store.WriteStatTable(c.known); err != nil {
		return "", fmt.Errorf("check %s: %w", opt.Path, err)
	}
	return reason, nil
}

// check is one look at an archive.
type check struct {
	ctx   context.Context
	start time.Time
	known *cache.StatTable
}

// look lists what is at the path. The reason is why that cannot be the archive.
func (c check) look(opt Options) (found listing, reason string, err error) {
	fi, err := os.Lstat(opt.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return nil, "it is gone", nil
	case err != nil:
		return nil, "", err
	case fi.Mode()&fs.ModeSymlink != 0:
		return nil, "it is a symbolic link now", nil
	case opt.Format == OCIDir && !fi.IsDir():
		return nil, "it is not a directory any more", nil
	case opt.Format != OCIDir && !fi.Mode().IsRegular():
		return nil, "it is not a plain file any more", nil
	}
	if opt.Format == OCIDir {
		return c.lookDir(opt.Path)
	}
	parent, err := os.OpenRoot(filepath.Dir(opt.Path))
	if err != nil {
		return nil, "", err
	}
	defer parent.Close()
	f, err := c.read(parent, filepath.Base(opt.Path), "")
	return listing{f}, "", err
}

func (c check) lookDir(path string) (found listing, reason string, err error) {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, "", err
	}
	defer dir.Close()
	err = fs.WalkDir(dir.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir():
			return err
		case !d.Type().IsRegular():
			reason = "it holds " + strings.ToValidUTF8(name, "?") + ", which is not a plain file"
			return fs.SkipAll
		}
		f, err := c.read(dir, name, name)
		found = append(found, f)
		return err
	})
	slices.SortFunc(found, func(a, b file) int { return strings.Compare(a.name, b.name) })
	c.known.Retain(func(name string) bool {
		return slices.ContainsFunc(found, func(f file) bool { return f.name == name })
	})
	return found, reason, err
}

// read returns the file at path in dir, under name, with its digest, known or read.
func (c check) read(dir *os.Root, path, name string) (file, error) {
	f, err := dir.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	stamp, err := stampOf(f)
	if err != nil {
		return file{}, err
	}
	if r := c.known.Lookup(name, stamp); r != nil {
		return file{name, r.Digest, r.Size}, nil
	}
	hash := sha256.New()
	size, err := io.Copy(hash, readerContext{c.ctx, f})
	if err != nil {
		return file{}, err
	}
	digest := cache.Digest(hash.Sum(nil))
	if stamp.Settled(c.start) {
		c.known.Put(name, &cache.StatRecord{FileStamp: stamp, Digest: digest})
	}
	return file{name, digest, size}, nil
}

func stampOf(f *os.File) (cache.FileStamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return cache.FileStamp{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return cache.FileStamp{
		Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano(),
		Dev: uint64(st.Dev), Ino: st.Ino, Mode: uint32(st.Mode),
	}, nil
}
