// Package sidecar reads and writes the .smolmachine files of smolvm: a tar in
// zstd of a pack's files, a manifest, and a footer.
package sidecar

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
)

// MediaType is what a pack is called in the store. smolvm itself gives
// its files no media type.
const MediaType = "application/vnd.bottlebuild.smolmachine.v1"

// The footer is the last 64 bytes of a sidecar, little-endian; offsets count
// from the start of the file. As in smolvm's crates/smolvm-pack/src/format.rs.
//
//	 0  "SMOLPACK"
//	 8  u32 version
//	12  u64 stub size, 0 in a sidecar
//	20  u64 assets offset, 0 in a sidecar
//	28  u64 assets size
//	36  u64 manifest offset
//	44  u64 manifest size
//	52  u32 CRC-32 (IEEE) of assets and manifest
//	56  8 zero bytes
const (
	footerMagic   = "SMOLPACK"
	footerSize    = 64
	footerVersion = 1 // what is written
	newestFooter  = 3 // what is read
	maxManifest   = 16 << 20
)

// ErrInvalid is wrapped by the errors for bytes that are no whole sidecar.
var ErrInvalid = errors.New("not a valid .smolmachine file")

// Manifest is what a sidecar says of itself. Fields that smolvm adds later are
// left out.
type Manifest struct {
	Mode          string          `json:"mode"`
	Image         string          `json:"image"`
	Digest        string          `json:"digest"`   // of the image's config
	Platform      string          `json:"platform"` // of the guest: "linux/amd64"
	Entrypoint    []string        `json:"entrypoint"`
	Cmd           []string        `json:"cmd"`
	Env           []string        `json:"env"` // "NAME=value"
	SecretRefs    json.RawMessage `json:"secret_refs,omitempty"`
	Workdir       string          `json:"workdir"`
	CPUs          int             `json:"cpus"`
	Mem           int             `json:"mem"` // MiB
	ImageSize     int64           `json:"image_size"`
	Network       bool            `json:"network"`
	GPU           bool            `json:"gpu"`
	CUDA          bool            `json:"cuda"`
	HostPlatform  string          `json:"host_platform"`
	Created       string          `json:"created"`
	SmolvmVersion string          `json:"smolvm_version"`
	Assets        json.RawMessage `json:"assets,omitempty"`
}

// File is a sidecar whose footer and manifest have been read.
type File struct {
	Manifest Manifest
	r        io.ReaderAt
	size     int64 // of the file
	assets   int64 // size of the assets, which the file starts with
	crc      uint32
}

// Open reads the footer and the manifest of a sidecar of size bytes. It
// checks that they and the assets fill the file exactly. The error wraps
// [ErrInvalid]; the assets have not been read.
func Open(r io.ReaderAt, size int64) (*File, error) {
	if size < footerSize {
		return nil, fmt.Errorf("%w: it has %d bytes, fewer than its footer", ErrInvalid, size)
	}
	var f [footerSize]byte
	if _, err := r.ReadAt(f[:], size-footerSize); err != nil && err != io.EOF {
		return nil, fmt.Errorf("read footer: %w", err)
	}
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(f[at:]) }
	version := binary.LittleEndian.Uint32(f[8:])
	assets, manifestAt, manifestSize := u64(28), u64(36), u64(44)
	end := uint64(size - footerSize)
	switch {
	case string(f[:8]) != footerMagic:
		return nil, fmt.Errorf("%w: its footer does not begin with %q", ErrInvalid, footerMagic)
	case version < 1 || version > newestFooter:
		return nil, fmt.Errorf("%w: it is of format version %d; 1 to %d are known", ErrInvalid, version, newestFooter)
	case u64(12) != 0 || u64(20) != 0:
		return nil, fmt.Errorf("%w: it holds a stub", ErrInvalid)
	case manifestSize == 0 || manifestSize > maxManifest:
		return nil, fmt.Errorf("%w: its manifest is of %d bytes; up to %d are read", ErrInvalid, manifestSize, maxManifest)
	case assets > math.MaxInt64 || manifestAt != assets || assets+manifestSize != end:
		return nil, fmt.Errorf("%w: assets of %d bytes and a manifest of %d at %d do not fill %d bytes", ErrInvalid, assets, manifestSize, manifestAt, end)
	case u64(56) != 0:
		return nil, fmt.Errorf("%w: its footer does not end in zeros", ErrInvalid)
	}
	b := make([]byte, manifestSize)
	if _, err := r.ReadAt(b, int64(manifestAt)); err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	s := &File{r: r, size: size, assets: int64(assets), crc: binary.LittleEndian.Uint32(f[52:])}
	if err := json.Unmarshal(b, &s.Manifest); err != nil {
		return nil, fmt.Errorf("%w: its manifest: %w", ErrInvalid, err)
	}
	return s, nil
}

// Assets reads the assets: a tar in zstd.
func (s *File) Assets() io.Reader { return io.NewSectionReader(s.r, 0, s.assets) }

// Copy writes the whole sidecar to w and checks its CRC-32 on the way. Only when
// it returns nil may what was written be used. The error wraps [ErrInvalid] if
// the sum is wrong.
func (s *File) Copy(w io.Writer) error {
	sum := crc32.NewIEEE()
	content := io.NewSectionReader(s.r, 0, s.size-footerSize)
	if _, err := io.Copy(io.MultiWriter(w, sum), content); err != nil {
		return fmt.Errorf("copy sidecar: %w", err)
	}
	if _, err := io.Copy(w, io.NewSectionReader(s.r, s.size-footerSize, footerSize)); err != nil {
		return fmt.Errorf("copy sidecar: %w", err)
	}
	if sum.Sum32() != s.crc {
		return fmt.Errorf("%w: its content has CRC-32 %08x, its footer says %08x", ErrInvalid, sum.Sum32(), s.crc)
	}
	return nil
}

// Write writes a sidecar of assets, a tar in zstd, and m to w.
func Write(w io.Writer, assets io.Reader, m Manifest) error {
	manifest, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("write sidecar: %w", err)
	}
	sum := crc32.NewIEEE()
	both := io.MultiWriter(w, sum)
	n, err := io.Copy(both, assets)
	if err != nil {
		return fmt.Errorf("write sidecar: %w", err)
	}
	if _, err := both.Write(manifest); err != nil {
		return fmt.Errorf("write sidecar: %w", err)
	}
	f := bytes.NewBuffer(make([]byte, 0, footerSize))
	f.WriteString(footerMagic)
	for _, v := range []any{uint32(footerVersion), uint64(0), uint64(0), uint64(n), uint64(n), uint64(len(manifest)), sum.Sum32(), uint64(0)} {
		binary.Write(f, binary.LittleEndian, v) // a bytes.Buffer takes all
	}
	if _, err := w.Write(f.Bytes()); err != nil {
		return fmt.Errorf("write sidecar: %w", err)
	}
	return nil
}
