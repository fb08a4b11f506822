package archive

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bottlebuild/cache"
)

// maxIndex bounds the index.json that is read of a directory to be replaced.
const maxIndex = 4 << 20

// writeDir writes the entries as files of a new directory and puts that in place
// of the old one.
func (p *place) writeDir(ctx context.Context, entries []entry) (listing, error) {
	old, err := p.stat()
	if err != nil {
		return nil, err
	}
	if old != nil {
		if err := p.mayReplace(); err != nil {
			return nil, err
		}
	}
	temp := p.tempName()
	if err := p.parent.Mkdir(temp, 0o755); err != nil {
		return nil, err
	}
	defer p.parent.RemoveAll(temp) // what is there by then: nothing, the old directory, or a failed new one
	found, err := p.fill(ctx, temp, entries)
	if err != nil {
		return nil, err
	}
	if err := p.swap(temp, old != nil); err != nil {
		return nil, err
	}
	if err := p.sync(); err != nil {
		return nil, err
	}
	return found, nil
}

// fill writes the entries into a directory and makes them durable.
func (p *place) fill(ctx context.Context, temp string, entries []entry) (listing, error) {
	dir, err := p.parent.OpenRoot(temp)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var found listing
	dirs := map[string]bool{".": true}
	for _, e := range entries {
		for _, d := range parents(e.name) {
			if !dirs[d] {
				dirs[d] = true
				if err := dir.Mkdir(d, 0o755); err != nil {
					return nil, err
				}
			}
		}
		f, err := writeFile(ctx, dir, e)
		if err != nil {
			return nil, err
		}
		found = append(found, f)
	}
	for d := range dirs {
		f, err := dir.Open(d)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func writeFile(ctx context.Context, dir *os.Root, e entry) (file, error) {
	f, err := dir.OpenFile(e.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return file{}, err
	}
	defer f.Close()
	hash := sha256.New()
	if err := copyEntry(ctx, io.MultiWriter(f, hash), e); err != nil {
		return file{}, err
	}
	if err := f.Sync(); err != nil {
		return file{}, err
	}
	return file{e.name, cache.Digest(hash.Sum(nil)), e.size}, f.Close()
}

// swap puts the new directory at the place. With an old one there the two change
// places, in one step where the system can.
func (p *place) swap(temp string, replaces bool) error {
	if !replaces {
		return p.parent.Rename(temp, p.name)
	}
	if err := exchange(p.parent, temp, p.name); !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return p.swapInSteps(temp)
}

// swapInSteps puts the old directory aside, where it comes back from if the new
// one cannot follow.
func (p *place) swapInSteps(temp string) error {
	aside := p.tempName()
	if err := p.parent.Rename(p.name, aside); err != nil {
		return err
	}
	if err := p.parent.Rename(temp, p.name); err != nil {
		return errors.Join(err, p.parent.Rename(aside, p.name))
	}
	return p.parent.RemoveAll(aside)
}

// mayReplace returns why the directory at the place is not one to remove: it
// must be empty, or hold an image layout that this package wrote and nothing else.
func (p *place) mayReplace() error {
	refuse := func(why string) error {
		return fmt.Errorf("the directory there %s; remove it, or choose another path", why)
	}
	dir, err := p.parent.OpenRoot(p.name)
	if err != nil {
		return refuse("cannot be opened: " + err.Error())
	}
	defer dir.Close()
	names, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return nil
	}
	raw, err := readSmall(dir, indexFile)
	if err != nil {
		return refuse("is not empty and no OCI image layout")
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(raw, &index); err != nil || index.Annotations[ownMark] == "" {
		return refuse("was not written by bottlebuild")
	}
	return fs.WalkDir(dir.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (name == "." || name == "blobs" || name == blobDir):
			return nil
		case d.Type().IsRegular() && (name == layoutFile || name == indexFile || path.Dir(name) == blobDir):
			return nil
		}
		return refuse("also holds " + strings.ToValidUTF8(name, "?"))
	})
}

func readSmall(dir *os.Root, name string) ([]byte, error) {
	fi, err := dir.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !fi.Mode().IsRegular() || fi.Size() > maxIndex {
		return nil, fmt.Errorf("%s is no small file", name)
	}
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxIndex))
}
