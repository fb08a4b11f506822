// Package archive writes an image of the store to a place of the user's: an OCI
// archive, a Docker archive, or an OCI image layout as a directory. Equal images
// give equal bytes.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"bottlebuild/cache"
)

// The formats.
const (
	OCI    = "oci"     // tar of an OCI image layout
	Docker = "docker"  // tar that docker load reads
	OCIDir = "oci-dir" // OCI image layout as a directory
)

// Options says what to write and where.
type Options struct {
	Format string // OCI, Docker, OCIDir
	Path   string // absolute
	// Name is what the image is called when loaded: "bottlebuild/agent:latest".
	// Empty: it has no name.
	Name string
}

// Write writes the image to opt.Path and replaces what was there in one step, so
// that a reader sees the whole of the old or of the new. Missing parents are
// made. It refuses to replace a symbolic link, a directory by a file, and a
// directory that is not one it wrote itself. After a failure, a full disk for
// one, what was there is still there and nothing else.
//
// The output's Digest is the SHA-256 of the file, or for a directory of the
// listing of its files; Bytes is its size, and Attrs has "path". It has no blobs,
// since the bytes are outside the store; [Check] tells whether they are still
// there.
func Write(ctx context.Context, store *cache.Store, img cache.Output, opt Options) (cache.Output, error) {
	out, err := write(ctx, store, img, opt)
	if err != nil {
		return cache.Output{}, fmt.Errorf("write %s archive %s: %w", opt.Format, opt.Path, err)
	}
	return out, nil
}

func write(ctx context.Context, store *cache.Store, img cache.Output, opt Options) (cache.Output, error) {
	entries, err := contents(ctx, store, img, opt)
	if err != nil {
		return cache.Output{}, err
	}
	place, err := open(opt.Path)
	if err != nil {
		return cache.Output{}, err
	}
	defer place.Close()
	unlock, err := store.LockName(ctx, "export-"+cache.DigestOf([]byte(opt.Path)).Hex()[:32])
	if err != nil {
		return cache.Output{}, err
	}
	defer unlock()
	if err := place.sweep(); err != nil {
		return cache.Output{}, err
	}
	var found listing
	if opt.Format == OCIDir {
		found, err = place.writeDir(ctx, entries)
	} else {
		found, err = place.writeTar(ctx, entries)
	}
	if err != nil {
		return cache.Output{}, err
	}
	return cache.Output{
		Digest: found.digest(),
		Bytes:  found.size(),
		Attrs:  map[string]string{"path": opt.Path},
	}, nil
}

// contents returns what the archive consists of, in order of name.
func contents(ctx context.Context, store *cache.Store, img cache.Output, opt Options) ([]entry, error) {
	switch opt.Format {
	case OCI, OCIDir:
		return layoutEntries(store, img, opt)
	case Docker:
		return dockerEntries(ctx, store, img, opt.Name)
	}
	return nil, fmt.Errorf("there is no format %q", opt.Format)
}

// place is where an archive goes: a name in a directory, which is opened once so
// that no renaming of its parents in between matters.
type place struct {
	parent *os.Root
	name   string
}

func open(path string) (*place, error) {
	if !filepath.IsAbs(path) || filepath.Clean(path) == "/" {
		return nil, errors.New("the path is not that of a file below the root")
	}
	path = filepath.Clean(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	parent, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	return &place{parent, filepath.Base(path)}, nil
}

func (p *place) Close() error { return p.parent.Close() }

// stat returns what is at the place, nil if nothing is.
func (p *place) stat() (fs.FileInfo, error) {
	fi, err := p.parent.Lstat(p.name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && fi.Mode()&fs.ModeSymlink != 0 {
		err = errors.New("there is a symbolic link; remove it, or name what it points to")
	}
	return fi, err
}

// sync makes renames in the directory durable.
func (p *place) sync() error {
	d, err := p.parent.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
