package archive

import (
	"archive/tar"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"bottlebuild/cache"
)

// writeTar writes the entries as a tar in which nothing depends on where or when
// it is written: entries in order, modes fixed, owner 0, time 0.
func (p *place) writeTar(ctx context.Context, entries []entry) (listing, error) {
	if fi, err := p.stat(); err != nil {
		return nil, err
	} else if fi != nil && !fi.Mode().IsRegular() {
		return nil, errors.New("what is there is not a plain file; remove it, or choose another path")
	}
	temp := p.tempName()
	f, err := p.parent.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return nil, err
	}
	defer p.parent.Remove(temp) // after the rename there is none
	hash := sha256.New()
	err = tarTo(ctx, io.MultiWriter(f, hash), entries)
	if err == nil {
		err = f.Sync()
	}
	size, serr := f.Seek(0, io.SeekCurrent)
	if err = errors.Join(err, serr, f.Close()); err != nil {
		return nil, err
	}
	if err := p.parent.Rename(temp, p.name); err != nil {
		return nil, err
	}
	if err := p.sync(); err != nil {
		return nil, err
	}
	return listing{{digest: cache.Digest(hash.Sum(nil)), size: size}}, nil
}

func (p *place) tempName() string { return "." + p.name + "." + rand.Text() + tempSuffix }

const tempSuffix = ".tmp"

// sweep removes what processes that were killed have left beside the place. No
// other process writes there while the place's lock is held.
func (p *place) sweep() error {
	entries, err := fs.ReadDir(p.parent.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		middle, ours := strings.CutPrefix(e.Name(), "."+p.name+".")
		middle, temp := strings.CutSuffix(middle, tempSuffix)
		if ours && temp && len(middle) == len(rand.Text()) {
			if err := p.parent.RemoveAll(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

func tarTo(ctx context.Context, w io.Writer, entries []entry) error {
	tw := tar.NewWriter(w)
	made := map[string]bool{}
	for _, e := range entries {
		for _, dir := range parents(e.name) {
			if made[dir] {
				continue
			}
			made[dir] = true
			if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir + "/", Mode: 0o755, ModTime: time.Unix(0, 0)}); err != nil {
				return err
			}
		}
		if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: e.size, Mode: 0o644, ModTime: time.Unix(0, 0)}); err != nil {
			return fmt.Errorf("%s: %w", e.name, err)
		}
		if err := copyEntry(ctx, tw, e); err != nil {
			return err
		}
	}
	return tw.Close()
}

// parents returns the directories above a slash-separated name, outermost first.
func parents(name string) []string {
	dir := path.Dir(name)
	if dir == "." {
		return nil
	}
	return append(parents(dir), dir)
}

// copyEntry copies an entry's content, to its end so that it is verified.
func copyEntry(ctx context.Context, w io.Writer, e entry) error {
	r, err := e.open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, readerContext{ctx, r})
	if err == nil && n != e.size {
		err = fmt.Errorf("it has %d bytes, not %d", n, e.size)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", e.name, err)
	}
	return nil
}
