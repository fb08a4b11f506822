package cache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

func blobPath(d Digest) string { return path.Join("blobs", "sha256", d.Hex()) }

// BlobPath returns the absolute path of a blob, for tools that need a file. The
// file must not be written to. Prefer [Store.OpenBlob], which verifies.
func (s *Store) BlobPath(d Digest) string { return filepath.Join(s.dir, blobPath(d)) }

// HasBlob returns nil if a blob of that digest and size is there. A size below
// zero asks for the digest only. The error wraps [ErrMiss] if it is not there,
// and also [ErrDamaged], after quarantine, if its size is wrong.
func (s *Store) HasBlob(d Digest, size int64) error {
	_, err := s.findBlob(d, size)
	return err
}

// BlobSize returns the size of a blob in bytes; the error is as of [Store.HasBlob].
func (s *Store) BlobSize(d Digest) (int64, error) { return s.findBlob(d, -1) }

// findBlob returns the size of a blob, which the store's lease protects from now
// on if there is one.
func (s *Store) findBlob(d Digest, size int64) (int64, error) {
	if b, ok := s.view.get(d); ok && (size < 0 || size == int64(len(b))) {
		return int64(len(b)), nil
	}
	fi, err := s.statBlob(d, size)
	if err != nil {
		return 0, err
	}
	switch err := s.use(s.blobs, d.Hex(), fi.ModTime()); {
	case errors.Is(err, fs.ErrNotExist):
		return 0, fmt.Errorf("blob %s: %w", d, ErrMiss)
	case err != nil:
		return 0, fmt.Errorf("blob %s: %w", d, err)
	}
	return fi.Size(), nil
}

func (s *Store) statBlob(d Digest, size int64) (fs.FileInfo, error) {
	fi, err := lstat(s.blobs, d.Hex())
	if errors.Is(err, fs.ErrNotExist) || s.view.hides(blobPath(d)) {
		return nil, fmt.Errorf("blob %s: %w", d, ErrMiss)
	}
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", d, err)
	}
	if !fi.Mode().IsRegular() || size >= 0 && fi.Size() != size {
		if err := s.quarantine(blobPath(d)); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("blob %s: %w: %w: it has %d bytes, not %d", d, ErrMiss, ErrDamaged, fi.Size(), size)
	}
	return fi, nil
}

// stampBlobs makes sure that blobs are there, and sets their time of use.
func (s *Store) stampBlobs(blobs []Blob) error {
	if len(blobs) == 0 {
		return nil
	}
	if _, err := s.writer(); err != nil {
		return err
	}
	unlock, err := s.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	for _, b := range blobs {
		if _, err := s.statBlob(b.Digest, b.Size); err != nil {
			return err
		}
		if err := s.stamp(s.blobs, b.Digest.Hex()); err != nil {
			return fmt.Errorf("blob %s: %w", b.Digest, err)
		}
	}
	return nil
}

// OpenBlob opens a blob for reading from its start. The content is verified as
// it is read: the Read that reaches the end returns an error that wraps
// [ErrDamaged] instead of io.EOF, after quarantine, if the digest does not
// match. A reader that stops early has verified nothing.
func (s *Store) OpenBlob(d Digest) (io.ReadCloser, error) {
	if b, ok := s.view.get(d); ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	f, err := openRead(s.blobs, d.Hex())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open blob %s: %w", d, ErrMiss)
	}
	if err != nil {
		return nil, fmt.Errorf("open blob %s: %w", d, err)
	}
	return &verifier{s: s, want: d, file: f, hash: sha256.New()}, nil
}

// verifier tells at the end of a blob whether that was its content. An HTTP request
// that is sent again can have its body read by two goroutines for a moment; what is
// hashed is still the file from its start to its end.
type verifier struct {
	s    *Store
	want Digest
	file *os.File
	mu   sync.Mutex
	hash hash.Hash
}

func (v *verifier) Read(p []byte) (int, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n, err := v.file.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF {
		if got := Digest(v.hash.Sum(nil)); got != v.want {
			err := fmt.Errorf("read blob %s: %w: its content has digest %s", v.want, ErrDamaged, got)
			if !v.replaced() {
				err = errors.Join(err, v.s.quarantine(blobPath(v.want)))
			}
			return n, err
		}
	}
	return n, err
}

// replaced reports whether the blob's file is another by now: somebody else has found
// it damaged too, and has put it anew.
func (v *verifier) replaced() bool {
	read, err := v.file.Stat()
	if err != nil {
		return false
	}
	there, err := lstat(v.s.blobs, v.want.Hex())
	return err == nil && !os.SameFile(read, there)
}

func (v *verifier) Close() error { return v.file.Close() }

// ReadBlob returns the whole, verified content of a blob of at most limit bytes.
func (s *Store) ReadBlob(d Digest, limit int64) ([]byte, error) {
	r, err := s.OpenBlob(d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read blob %s: it is over %d bytes", d, limit)
	}
	return b, nil
}

// VerifyBlob reads a blob to its end. The error is as of [Store.OpenBlob].
func (s *Store) VerifyBlob(d Digest) error {
	r, err := s.OpenBlob(d)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// PutBlob copies r to its end into the store and returns the digest and the
// size in bytes of what was read.
func (s *Store) PutBlob(r io.Reader) (Digest, int64, error) {
	w, err := s.NewBlob()
	if err != nil {
		return Digest{}, 0, err
	}
	defer w.Close()
	if _, err := io.Copy(w, r); err != nil {
		return Digest{}, 0, fmt.Errorf("put blob: %w", err)
	}
	d, err := w.Commit(Digest{})
	return d, w.Size(), err
}

// PutBytes is [Store.PutBlob] for bytes at hand.
func (s *Store) PutBytes(b []byte) (Digest, error) {
	d, _, err := s.PutBlob(bytes.NewReader(b))
	return d, err
}

// BlobWriter is a blob that is being written. Nothing of it can be seen in the
// store before Commit.
type BlobWriter struct {
	t    *temp // nil in a view
	view *overlay
	kept bytes.Buffer // of a view
	hash hash.Hash
	size int64
}

// NewBlob starts a blob. The caller calls Close, also after Commit.
func (s *Store) NewBlob() (*BlobWriter, error) {
	if s.view != nil {
		return &BlobWriter{view: s.view, hash: sha256.New()}, nil
	}
	t, err := s.createTemp()
	if err != nil {
		return nil, fmt.Errorf("new blob: %w", err)
	}
	return &BlobWriter{t: t, hash: sha256.New()}, nil
}

func (w *BlobWriter) Write(p []byte) (int, error) {
	var to io.Writer = &w.kept
	switch {
	case w.t != nil:
		to = w.t.file
	case w.size+int64(len(p)) > maxViewed:
		return 0, errView
	}
	n, err := to.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// Size returns the number of bytes written so far.
func (w *BlobWriter) Size() int64 { return w.size }

// Digest returns the digest of the bytes written so far.
func (w *BlobWriter) Digest() Digest { return Digest(w.hash.Sum(nil)) }

// Commit publishes what was written and returns its digest. If want is not zero
// and is another digest, nothing is published. A blob that is already there with
// this size is left alone.
func (w *BlobWriter) Commit(want Digest) (Digest, error) {
	d := w.Digest()
	if !want.IsZero() && d != want {
		return d, fmt.Errorf("commit blob: %w: content has digest %s, not %s", ErrDamaged, d, want)
	}
	if w.t == nil {
		return w.view.put(w.kept.Bytes())
	}
	if w.t.s.HasBlob(d, w.size) == nil {
		return d, nil
	}
	return d, w.t.rename(blobPath(d))
}

// Close drops what was not committed.
func (w *BlobWriter) Close() error {
	if w.t != nil {
		w.t.discard()
	}
	return nil
}
