package container

import (
	"archive/tar"
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"bottlebuild/cache"
)

// maxWindow bounds the memory that a zstd layer can make its reader use, in
// bytes: what the zstd command accepts without being asked for more.
const maxWindow = 128 << 20

// budget is what is left of the limits for one image.
type budget struct {
	limits  Limits
	entries int64
	bytes   int64 // sizes that the entries declare
	read    int64 // of the plain tars
	names   int64 // of what is kept in memory of the layer's entries
}

// maxNames bounds names and attributes of a layer's entries, in bytes: they are in
// memory while it is unpacked.
const maxNames = 256 << 20

var errTooBig = errors.New("the image is too big to unpack, or made to look so")

// entry accounts for one entry of that size.
func (b *budget) entry(size int64) error {
	b.entries++
	if b.entries > b.limits.Entries {
		return fmt.Errorf("%w: it has more than %d entries", errTooBig, b.limits.Entries)
	}
	// By subtraction, since a declared size can be near the largest number.
	if size < 0 || size > b.limits.Bytes-b.bytes {
		return fmt.Errorf("%w: its files have more than %d bytes", errTooBig, b.limits.Bytes)
	}
	b.bytes += size
	return nil
}

// kept accounts for what is kept of an entry until the layer is unpacked.
func (b *budget) kept(h *tar.Header) error {
	b.names += int64(len(h.Name) + len(h.Linkname))
	for name, value := range h.PAXRecords {
		b.names += int64(len(name) + len(value))
	}
	if b.names > maxNames {
		return fmt.Errorf("%w: the names and attributes of a layer's files have more than %d bytes", errTooBig, maxNames)
	}
	return nil
}

// layerReader reads the plain tar of a layer. It counts what it reads against
// the budget. At the end of the tar the caller calls finish.
type layerReader struct {
	layer  layer
	budget *budget
	blob   io.ReadCloser // verified against its digest at its end
	plain  io.Reader
	close  func()
	hash   hash.Hash
}

// openLayer tells gzip, zstd and plain layers apart by their first bytes: media
// types are wrong often enough, and the diff ID decides in the end.
func openLayer(s *cache.Store, l layer, b *budget) (*layerReader, error) {
	blob, err := s.OpenBlob(l.Digest)
	if err != nil {
		return nil, err
	}
	r := &layerReader{layer: l, budget: b, blob: blob, hash: sha256.New(), close: func() {}}
	buf := bufio.NewReaderSize(blob, 64<<10)
	magic, _ := buf.Peek(4) // an error comes again when it is read
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		r.plain, err = gzip.NewReader(buf)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}), len(magic) == 4 && magic[0]&0xf0 == 0x50 && bytes.Equal(magic[1:], []byte{0x2a, 0x4d, 0x18}):
		var d *zstd.Decoder
		if d, err = zstd.NewReader(buf, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2)); err == nil {
			r.plain, r.close = d, d.Close
		}
	default:
		r.plain = buf
	}
	if err != nil {
		blob.Close()
		return nil, fmt.Errorf("decompress layer %s: %w", l.Digest, err)
	}
	return r, nil
}

func (r *layerReader) Read(p []byte) (int, error) {
	n, err := r.plain.Read(p)
	r.hash.Write(p[:n])
	r.budget.read += int64(n)
	// Headers and padding come on top of the files: allow 4 KiB an entry.
	if r.budget.read-r.budget.limits.Bytes > r.budget.limits.Entries*4096 {
		return n, fmt.Errorf("%w: its layers have more than %d bytes", errTooBig, r.budget.limits.Bytes)
	}
	return n, err
}

// finish reads what follows the tar's end, and verifies both digests.
func (r *layerReader) finish() error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r.blob); err != nil {
		return err
	}
	if got := cache.Digest(r.hash.Sum(nil)); got != r.layer.DiffID {
		return fmt.Errorf("its content has digest %s, but the image's config says %s", got, r.layer.DiffID)
	}
	return nil
}

// Close gives back what the reader holds.
func (r *layerReader) Close() error {
	r.close()
	return r.blob.Close()
}
