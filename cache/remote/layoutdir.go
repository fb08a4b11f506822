package remote

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// layoutDir is a directory in the form of OCI image-spec, image-layout.md. What is
// in it may be anybody's: names are opened in the directory only, and no symbolic
// link or pipe is followed.
type layoutDir struct{ root *os.Root }

const (
	layoutFile   = "oci-layout"
	layoutText   = `{"imageLayoutVersion":"1.0.0"}`
	indexFile    = "index.json"
	refName      = "org.opencontainers.image.ref.name" // OCI image-spec, annotations
	tempPrefix   = ".bottlebuild-"
	maxIndexFile = 256 << 20 // bytes
	maxExported  = 100_000   // records of a layout
)

// ErrNoLayout is wrapped where a directory is no OCI image layout that can be read.
var ErrNoLayout = errors.New("no OCI image layout")

func layoutBlob(d cache.Digest) string { return path.Join("blobs", "sha256", d.Hex()) }

// createLayout opens a layout and makes it if it is not there. A directory that is
// something else is refused.
func createLayout(dir string) (*layoutDir, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	l, err := openLayout(dir)
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return l, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	l = &layoutDir{root}
	err = func() error {
		there, err := fs.ReadDir(root.FS(), ".")
		if err != nil {
			return err
		}
		for _, e := range there {
			if e.Name() != "blobs" { // of an export that was cut off at once
				return fmt.Errorf("%s is not empty and no OCI image layout", dir)
			}
		}
		if err := root.MkdirAll("blobs/sha256", 0o755); err != nil {
			return err
		}
		if err := l.writeIndex(&v1.IndexManifest{}); err != nil {
			return err
		}
		return l.publish(layoutFile, cache.Digest{}, bytes.NewReader([]byte(layoutText)))
	}()
	if err != nil {
		root.Close()
		return nil, err
	}
	return l, nil
}

// openLayout opens a layout that must be there.
func openLayout(dir string) (*layoutDir, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, noLayout(err)
	}
	l := &layoutDir{root}
	b, err := l.read(layoutFile, 4096)
	if err == nil {
		var version struct{ ImageLayoutVersion string }
		if json.Unmarshal(b, &version) != nil || version.ImageLayoutVersion != "1.0.0" {
			err = fmt.Errorf("%s does not say version 1.0.0", layoutFile)
		}
	}
	if err != nil {
		root.Close()
		return nil, noLayout(err)
	}
	return l, nil
}

// noLayout makes a file that is not as a layout has it a fault of the directory's,
// and not of this machine's.
func noLayout(err error) error {
	if ownFault(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoLayout, err)
}

func (l *layoutDir) close() error { return l.root.Close() }

// open opens a regular file for reading.
func (l *layoutDir) open(name string) (*os.File, int64, error) {
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: errors.New("it is no regular file")}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

func (l *layoutDir) read(name string, limit int64) ([]byte, error) {
	f, size, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("it is over %d bytes", limit)}
	}
	return io.ReadAll(io.LimitReader(f, limit))
}

func (l *layoutDir) has(d cache.Digest, size int64) bool {
	fi, err := l.root.Lstat(layoutBlob(d))
	return err == nil && fi.Mode().IsRegular() && fi.Size() == size
}

// publish puts what r yields at name, whole or not at all. If the digest is not
// zero it must be that of the content.
func (l *layoutDir) publish(name string, want cache.Digest, r io.Reader) (err error) {
	tmp := tempPrefix + rand.Text()
	f, err := l.root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			l.root.Remove(tmp)
		}
	}()
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(f, h), r)
	if got := cache.Digest(h.Sum(nil)); err == nil && !want.IsZero() && got != want {
		err = fmt.Errorf("%s: %w", name, errWrongContent)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return l.root.Rename(tmp, name)
}

// sweep removes what an export that was killed has left.
func (l *layoutDir) sweep() error {
	there, err := fs.Glob(l.root.FS(), tempPrefix+"*")
	for _, name := range there {
		err = errors.Join(err, l.root.Remove(name))
	}
	return err
}

func (l *layoutDir) index() (*v1.IndexManifest, error) {
	b, err := l.read(indexFile, maxIndexFile)
	if err != nil {
		return nil, noLayout(err)
	}
	ix := &v1.IndexManifest{}
	if err := json.Unmarshal(b, ix); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNoLayout, indexFile, err)
	}
	return ix, nil
}

func (l *layoutDir) writeIndex(ix *v1.IndexManifest) error {
	ix.SchemaVersion, ix.MediaType = 2, types.OCIImageIndex
	if ix.Manifests == nil {
		ix.Manifests = []v1.Descriptor{}
	}
	b, err := json.Marshal(ix)
	if err != nil {
		return err
	}
	return l.publish(indexFile, cache.Digest{}, bytes.NewReader(b))
}

// name gives manifests their names in the index; what had these names before goes.
func (l *layoutDir) name(named []v1.Descriptor) error {
	ix, err := l.index()
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, d := range named {
		taken[d.Annotations[refName]] = true
	}
	ix.Manifests = slices.DeleteFunc(ix.Manifests, func(d v1.Descriptor) bool { return taken[d.Annotations[refName]] })
	ix.Manifests = append(ix.Manifests, named...)
	return l.writeIndex(ix)
}
