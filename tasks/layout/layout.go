// Package layout reads OCI image layouts, directories of images as the OCI image
// specification describes them in image-layout.md. Nothing outside of the
// directory is opened, and nothing but regular files.
package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
)

const (
	// maxIndex bounds index.json, in bytes.
	maxIndex = 4 << 20
	// maxListed bounds how many tags a message lists.
	maxListed = 10
)

// Layout is an open image layout.
type Layout struct{ root *os.Root }

// Open opens the layout in a directory.
func Open(dir string) (*Layout, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open OCI layout: %w", err)
	}
	l := &Layout{root}
	if err := l.check(); err != nil {
		root.Close()
		return nil, fmt.Errorf("open OCI layout %s: %w", dir, err)
	}
	return l, nil
}

func (l *Layout) Close() error { return l.root.Close() }

func (l *Layout) check() error {
	b, err := l.read(ocispecs.ImageLayoutFile, 1<<10)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no file %s in it, which every layout has", ocispecs.ImageLayoutFile)
	}
	if err != nil {
		return err
	}
	var file ocispecs.ImageLayout
	if err := json.Unmarshal(b, &file); err != nil {
		return fmt.Errorf("parse %s: %w", ocispecs.ImageLayoutFile, err)
	}
	if !strings.HasPrefix(file.Version, "1.") {
		return fmt.Errorf("its version is %.40q, and only version 1 is understood", file.Version)
	}
	return nil
}

// Resolve returns the digest of the image that a tag or a digest names. Empty, it
// is "latest" or else the only image, as docker buildx has it.
func (l *Layout) Resolve(tag string) (cache.Digest, error) {
	if strings.HasPrefix(tag, "sha256:") {
		d, err := cache.ParseDigest(tag)
		if err != nil {
			return d, err
		}
		f, _, err := l.OpenBlob(d)
		if err != nil {
			return d, fmt.Errorf("image %s: %w", d, err)
		}
		return d, f.Close()
	}
	b, err := l.read(ocispecs.ImageIndexFile, maxIndex)
	if err != nil {
		return cache.Digest{}, err
	}
	var index ocispecs.Index
	if err := json.Unmarshal(b, &index); err != nil {
		return cache.Digest{}, fmt.Errorf("parse %s: %w", ocispecs.ImageIndexFile, err)
	}
	want := tag
	if tag == "" {
		want = "latest"
	}
	var tags []string
	for _, d := range index.Manifests {
		name := d.Annotations[ocispecs.AnnotationRefName]
		if name == want {
			return cache.ParseDigest(d.Digest.String())
		}
		if name != "" && !slices.Contains(tags, name) {
			tags = append(tags, name)
		}
	}
	switch {
	case tag == "" && len(index.Manifests) == 1:
		return cache.ParseDigest(index.Manifests[0].Digest.String())
	case len(index.Manifests) == 0:
		return cache.Digest{}, errors.New("it has no images")
	case len(tags) == 0:
		return cache.Digest{}, fmt.Errorf("none of its %d images has the tag %q, or any: name one by its digest, @sha256:…", len(index.Manifests), want)
	}
	if len(tags) > maxListed {
		tags = append(tags[:maxListed], "…")
	}
	return cache.Digest{}, fmt.Errorf("none of its images has the tag %q; it has: %.500s", want, strings.Join(tags, ", "))
}

// OpenBlob opens a blob. Its content is not verified. The error wraps
// [fs.ErrNotExist] if it is not there.
func (l *Layout) OpenBlob(d cache.Digest) (*os.File, int64, error) {
	return l.open(path.Join(ocispecs.ImageBlobsDir, "sha256", d.Hex()))
}

// ReadBlob returns the verified content of a blob of at most limit bytes.
func (l *Layout) ReadBlob(d cache.Digest, limit int64) ([]byte, error) {
	b, err := l.read(path.Join(ocispecs.ImageBlobsDir, "sha256", d.Hex()), limit)
	if err == nil && cache.DigestOf(b) != d {
		err = fmt.Errorf("blob %s is damaged: it has digest %s", d, cache.DigestOf(b))
	}
	return b, err
}

// open opens a regular file. It does not wait for the other end of a pipe.
func (l *Layout) open(name string) (*os.File, int64, error) {
	f, err := l.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, fi.Size(), nil
}

func (l *Layout) read(name string, limit int64) ([]byte, error) {
	f, _, err := l.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(io.LimitReader(f, limit+1)); err != nil {
		return nil, err
	}
	if int64(b.Len()) > limit {
		return nil, fmt.Errorf("%s is over %d bytes", name, limit)
	}
	return b.Bytes(), nil
}
