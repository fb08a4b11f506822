package selftest

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bottlebuild/cache"
)

// SamplesAttr is the name of the attribute of a pack that holds its samples.
const SamplesAttr = "samples"

// File is a file as the pack has it.
type File struct {
	Path   string
	SHA256 cache.Digest
}

const (
	maxSamples    = 8
	maxSampleSize = 16 << 10 // bytes
	// maxSampled bounds how much of an image is read in search of samples.
	maxSampled = 256 << 20
)

// Sample picks some small files of an image, from the last layer that has any:
// by these a machine can tell that it was made from this image and no other. An
// image may have none.
func Sample(ctx context.Context, img v1.Image) ([]File, error) {
	layers, err := img.Layers()
	if err != nil {
		return nil, fmt.Errorf("take samples: %w", err)
	}
	s := sampler{removed: map[string]bool{}, left: maxSampled}
	for i, l := range slices.Backward(layers) {
		if err := s.layer(ctx, l); err != nil {
			return nil, fmt.Errorf("take samples of layer %d: %w", i, err)
		}
		if len(s.files) > 0 || s.left <= 0 {
			break
		}
	}
	return s.files, nil
}

type sampler struct {
	files   []File
	removed map[string]bool // by layers above
	left    int64
}

func (s *sampler) layer(ctx context.Context, l v1.Layer) error {
	rc, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer rc.Close()
	removed := map[string]bool{}
	limited := &io.LimitedReader{R: rc, N: s.left}
	defer func() { s.left = limited.N }()
	tr := tar.NewReader(limited)
	for len(s.files) < maxSamples && ctx.Err() == nil {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) || limited.N <= 0 {
			break
		}
		if err != nil {
			return err
		}
		if err := s.entry(h, tr, removed); err != nil {
			return err
		}
	}
	for p := range removed {
		s.removed[p] = true
	}
	return context.Cause(ctx)
}

// volatile are files that machines have of their own, whatever the image has.
var volatile = []string{"/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab", "/etc/passwd", "/etc/group", "/etc/shadow"}

// covered are directories that machines mount something over.
var covered = []string{"/dev", "/proc", "/sys", "/run", "/tmp", "/var/run", "/home"}

func (s *sampler) entry(h *tar.Header, content io.Reader, removed map[string]bool) error {
	name := path.Clean("/" + h.Name)
	dir, base := path.Split(name)
	dir = path.Clean(dir)
	switch {
	case base == ".wh..wh..opq":
		removed[dir] = true
		return nil
	case strings.HasPrefix(base, ".wh."):
		removed[path.Join(dir, strings.TrimPrefix(base, ".wh."))] = true
		return nil
	case h.Typeflag != tar.TypeReg, h.Size == 0, h.Size > maxSampleSize, slices.Contains(volatile, name), !printable(name):
		return nil
	}
	for at := name; at != "/"; at = path.Dir(at) {
		if s.removed[at] || slices.Contains(covered, at) {
			return nil
		}
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, content); err != nil {
		return err
	}
	s.files = append(s.files, File{name, cache.Digest(sum.Sum(nil))})
	return nil
}

func printable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) && len(s) < 1000
}

// FormatSamples writes samples as an attribute, one a line.
func FormatSamples(files []File) string {
	var b strings.Builder
	for _, f := range files {
		b.WriteString(f.SHA256.Hex() + " " + f.Path + "\n")
	}
	return b.String()
}

// ParseSamples reads what [FormatSamples] wrote; what it did not write is
// passed over.
func ParseSamples(s string) []File {
	var files []File
	for line := range strings.Lines(s) {
		digest, name, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		b, err := hex.DecodeString(digest)
		if ok && err == nil && len(b) == sha256.Size && path.IsAbs(name) && len(files) < maxSamples {
			files = append(files, File{name, cache.Digest(b)})
		}
	}
	return files
}

// pack compares the samples with the machine's files. The machine may have
// changed some since it booted: one that is as it was will do.
func (t *tests) pack(samples []File, got []fileAnswer) {
	if len(samples) == 0 {
		return
	}
	var wrong []string
	same := false
	for i, f := range samples {
		if i < len(got) && got[i].errno == 0 && cache.DigestOf(got[i].content) == f.SHA256 {
			same = true
		} else {
			wrong = append(wrong, f.Path)
		}
	}
	t.check(same, packAdvice, "the machine's files are not those of its pack: %s", strings.Join(wrong, ", "))
}
