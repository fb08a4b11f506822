package remote

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"bottlebuild/cache"
)

// knownFile is where what is known of a repository is kept from one command to
// the next. It may be gone or damaged: that costs lookups. Of two that write it
// at once the last wins.
type knownFile struct {
	dir  string // made when it is needed; empty: nothing is kept
	name string
}

// newKnownFile names a file after the repository and the policy: another policy
// must not take over what this one has believed.
func newKnownFile(dir, repository string, p *policy) knownFile {
	return knownFile{dir, cache.DigestOf([]byte(repository + "\x00" + p.id)).Hex()}
}

// maxKnownFile bounds the file and the index, in bytes before decompression.
const maxKnownFile = 64 << 20

func (f knownFile) read() *known {
	b, err := f.bytes()
	if err != nil {
		return newKnown()
	}
	k, err := decodeKnown(b)
	if err != nil {
		return newKnown()
	}
	return k
}

func (f knownFile) bytes() ([]byte, error) {
	if f.dir == "" {
		return nil, fs.ErrNotExist
	}
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	file, err := root.Open(f.name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxKnownFile+1))
	if err == nil && len(b) > maxKnownFile {
		err = errKnown
	}
	return b, err
}

func (f knownFile) write(k *known) error {
	if f.dir == "" {
		return nil
	}
	b, err := k.encode()
	if err != nil {
		return err
	}
	if len(b) > maxKnownFile {
		return errors.New("what is known of it takes too much room")
	}
	if err := os.MkdirAll(f.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return renameio.WriteFile(filepath.Join(f.dir, f.name), b, 0o600)
}
