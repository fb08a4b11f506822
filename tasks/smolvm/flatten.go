package smolvm

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// maxUnpacked bounds the unpacked size of one layer, in bytes.
const maxUnpacked = 1 << 40

// flatten makes an image with the same files in one layer, and puts it into the
// store. Equal images give equal ones. Layers are read twice, once for their
// headers and once for the files that are left, so nothing is held in memory
// but headers, and nothing is written but the result.
func flatten(ctx context.Context, store *cache.Store, img image) (image, error) {
	flat, err := flattenImage(ctx, store, img)
	if err != nil {
		return image{}, fmt.Errorf("flatten image %s to one layer: %w", img.manifest.Digest, err)
	}
	return flat, nil
}

func flattenImage(ctx context.Context, store *cache.Store, img image) (image, error) {
	src, err := registry.Image(store, img.manifest)
	if err != nil {
		return image{}, err
	}
	layers, err := src.Layers()
	if err != nil {
		return image{}, err
	}
	files, order, err := merge(ctx, layers)
	if err != nil {
		return image{}, err
	}
	layer, diffID, err := writeLayer(ctx, store, layers, files, order)
	if err != nil {
		return image{}, err
	}
	raw, err := src.RawConfigFile()
	if err != nil {
		return image{}, err
	}
	config, err := flatConfig(raw, diffID)
	if err != nil {
		return image{}, err
	}
	configDigest, err := store.PutBytes(config)
	if err != nil {
		return image{}, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        descriptor(types.OCIConfigJSON, configDigest, int64(len(config))),
		Layers:        []v1.Descriptor{descriptor(types.OCILayerZStd, layer.Digest, layer.Size)},
	})
	if err != nil {
		return image{}, err
	}
	d, err := store.PutBytes(manifest)
	if err != nil {
		return image{}, err
	}
	return image{
		manifest: cache.Blob{Name: "manifest", MediaType: string(types.OCIManifestSchema1), Digest: d, Size: int64(len(manifest))},
		config:   configDigest, layers: 1, user: img.user,
	}, nil
}

func descriptor(t types.MediaType, d cache.Digest, size int64) v1.Descriptor {
	return v1.Descriptor{MediaType: t, Digest: v1.Hash{Algorithm: "sha256", Hex: d.Hex()}, Size: size}
}

// merge reads the headers of all layers. It returns what is left of them: the
// regular files of each layer by number of entry, and all else in order.
func merge(ctx context.Context, layers []v1.Layer) ([]map[int]*inode, []*tar.Header, error) {
	t := newTree()
	inodes := make([][]*inode, len(layers))
	for i, l := range layers {
		t.layer = i
		err := eachEntry(ctx, l, func(entry int, h *tar.Header, _ io.Reader) error {
			return t.apply(entry, h)
		})
		if err != nil {
			return nil, nil, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	order := t.list()
	t.eachFile(func(f *inode) { inodes[f.layer] = append(inodes[f.layer], f) })
	files := make([]map[int]*inode, len(layers))
	for i, list := range inodes {
		files[i] = make(map[int]*inode, len(list))
		for _, f := range list {
			files[i][f.entry] = f
		}
	}
	return files, order, nil
}

// eachFile calls f for the regular file of every path.
func (t *tree) eachFile(f func(*inode)) {
	var visit func(n *node)
	visit = func(n *node) {
		if n.file != nil {
			f(n.file)
		}
		for _, c := range n.children {
			visit(c)
		}
	}
	visit(t.root)
}

// eachEntry calls f for the entries of a layer. It reads to the layer's end, so
// that the store has verified its content.
func eachEntry(ctx context.Context, l v1.Layer, f func(entry int, h *tar.Header, content io.Reader) error) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	r := &boundedReader{ctx: ctx, r: rc, left: maxUnpacked}
	tr := tar.NewReader(r)
	for entry := 0; ; entry++ {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			_, err := io.Copy(io.Discard, r)
			return err
		}
		if err != nil {
			return err
		}
		if err := f(entry, h, tr); err != nil {
			return err
		}
	}
}

// boundedReader stops at a bound and when its context is done.
type boundedReader struct {
	ctx  context.Context
	r    io.Reader
	left int64
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.ctx.Err() != nil {
		return 0, context.Cause(b.ctx)
	}
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return n, fmt.Errorf("it unpacks to more than %d bytes", int64(maxUnpacked))
	}
	return n, err
}

// writeLayer writes the one layer: directories, links and devices by name, then
// the files in the order in which the layers have them.
func writeLayer(ctx context.Context, store *cache.Store, layers []v1.Layer, files []map[int]*inode, order []*tar.Header) (cache.Blob, cache.Digest, error) {
	w, err := store.NewBlob()
	if err != nil {
		return cache.Blob{}, cache.Digest{}, err
	}
	defer w.Close()
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return cache.Blob{}, cache.Digest{}, err
	}
	defer z.Close()
	diff := sha256.New()
	tw := tar.NewWriter(io.MultiWriter(z, diff))
	for _, h := range order {
		if err := tw.WriteHeader(h); err != nil {
			return cache.Blob{}, cache.Digest{}, err
		}
	}
	for i, l := range layers {
		if len(files[i]) == 0 {
			continue
		}
		err := eachEntry(ctx, l, func(entry int, _ *tar.Header, content io.Reader) error {
			if f := files[i][entry]; f != nil {
				return writeFile(tw, f, content)
			}
			return nil
		})
		if err != nil {
			return cache.Blob{}, cache.Digest{}, fmt.Errorf("layer %d: %w", i, err)
		}
	}
	if err := errors.Join(tw.Close(), z.Close()); err != nil {
		return cache.Blob{}, cache.Digest{}, err
	}
	d, err := w.Commit(cache.Digest{})
	if err != nil {
		return cache.Blob{}, cache.Digest{}, err
	}
	return cache.Blob{Name: "layer", MediaType: string(types.OCILayerZStd), Digest: d, Size: w.Size()}, cache.Digest(diff.Sum(nil)), nil
}

// writeFile writes a file under its first path and links for the others.
func writeFile(tw *tar.Writer, f *inode, content io.Reader) error {
	h := plainHeader(f.paths[0], f.header)
	h.Typeflag, h.Linkname = tar.TypeReg, ""
	if err := tw.WriteHeader(h); err != nil {
		return err
	}
	if _, err := io.Copy(tw, content); err != nil {
		return err
	}
	for _, p := range f.paths[1:] {
		link := plainHeader(p, f.header)
		link.Typeflag, link.Linkname, link.Size = tar.TypeLink, f.paths[0], 0
		if err := tw.WriteHeader(link); err != nil {
			return err
		}
	}
	return nil
}

// flatConfig returns an image config with one layer and all else as it was,
// fields that only others know included.
func flatConfig(raw []byte, diffID cache.Digest) ([]byte, error) {
	var c map[string]json.RawMessage
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("parse config: %w", err)
	}
	rootfs, err := json.Marshal(map[string]any{"type": "layers", "diff_ids": []string{diffID.String()}})
	if err != nil {
		return nil, err
	}
	c["rootfs"] = rootfs
	c["history"] = json.RawMessage(`[{"created_by":"bottlebuild: layers flattened"}]`)
	return json.Marshal(c)
}
