package buildcontext

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// openBelow opens a plain file without following symbolic links below dir.
func openBelow(dir, name string) (*os.File, error) {
	fd, err := openAt(unix.AT_FDCWD, dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(name, "/")
	for i, p := range parts {
		flags := unix.O_DIRECTORY
		if i == len(parts)-1 {
			flags = 0
		}
		next, err := openAt(fd, p, flags)
		unix.Close(fd)
		if err != nil {
			return nil, err
		}
		fd = next
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG {
		err = errNotFile
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join(dir, name)), nil
}

// fileReader reads a file of the tree and fails if it is not what was scanned.
type fileReader struct {
	fs    *FS
	entry *entry
	file  *os.File // nil: none
	hash  hash.Hash
	size  int64
	err   error // what every Read returns
}

func (r *fileReader) fail(err error) error {
	err = fmt.Errorf("read %q of context %s: it has changed since it was scanned; run again when nothing writes there: %w", r.entry.path, r.fs.dir, err)
	if r.fs.Fail != nil {
		r.fs.Fail(err)
	}
	return err
}

var errOtherContent = errors.New("its content is another")

// verify returns io.EOF if all that was read is what was scanned.
func (r *fileReader) verify() error {
	if r.size != r.entry.size || cache.Digest(r.hash.Sum(nil)) != r.entry.digest {
		return r.fail(errOtherContent)
	}
	return io.EOF
}

func (r *fileReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.file.Read(p)
	r.hash.Write(p[:n])
	r.size += int64(n)
	switch {
	case r.size > r.entry.size:
		n, r.err = 0, r.fail(errOtherContent)
	case err == io.EOF:
		r.err = r.verify()
	case err != nil:
		r.err = r.fail(err)
	}
	return n, r.err
}

func (r *fileReader) Close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
