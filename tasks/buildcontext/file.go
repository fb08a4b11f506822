package buildcontext

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// retry calls f again while a signal interrupts it.
func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// openAt opens a name in a directory for reading. It neither follows a symbolic
// link there, unless dir is AT_FDCWD, nor waits for the other end of a pipe.
func openAt(dir int, name string, flags int) (fd int, err error) {
	flags |= unix.O_RDONLY | unix.O_CLOEXEC
	if flags&unix.O_DIRECTORY == 0 {
		flags |= unix.O_NONBLOCK
	}
	if dir != unix.AT_FDCWD {
		flags |= unix.O_NOFOLLOW
	}
	err = retry(func() (err error) {
		fd, err = unix.Openat(dir, name, flags, 0)
		return err
	})
	return fd, err
}

func openDir(dir int, name string) (fd int, st unix.Stat_t, err error) {
	if fd, err = openAt(dir, name, unix.O_DIRECTORY); err != nil {
		return -1, st, err
	}
	if err = unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

func lstat(dir int, name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstatat(dir, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

func stampOf(st *unix.Stat_t) cache.FileStamp {
	return cache.FileStamp{
		Size:  st.Size,
		MTime: st.Mtim.Nano(),
		CTime: st.Ctim.Nano(),
		Dev:   uint64(st.Dev),
		Ino:   st.Ino,
		Mode:  uint32(st.Mode),
	}
}

// deviceOf returns "major:minor" as fsutil computes them.
func deviceOf(st *unix.Stat_t) string {
	dev := uint64(st.Rdev)
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	return strconv.FormatUint(major, 10) + ":" + strconv.FormatUint(minor, 10)
}

// maxTarget bounds a symbolic link's target, in bytes; Linux has 4096.
const maxTarget = 1 << 16

func readLink(dir int, name string) (string, error) {
	for size := 256; size <= maxTarget; size *= 4 {
		b := make([]byte, size)
		n, err := unix.Readlinkat(dir, name, b)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(b[:n]), nil
		}
	}
	return "", fmt.Errorf("its target has more than %d bytes", maxTarget)
}

// attempts is how often a file is read that changes while it is.
const attempts = 3

var (
	errChanging = errors.New("it changed while it was read, each time; run again when nothing writes to it")
	errNotFile  = errors.New("it was replaced by something that is no file; run again when nothing writes there")
)

var buffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// readFile returns the record of a file of which lstat said st: what it was while
// all of it was read.
func readFile(ctx context.Context, dir int, name string, st *unix.Stat_t) (*cache.StatRecord, error) {
	for range attempts {
		r, err := readOnce(ctx, dir, name, stampOf(st))
		if r != nil || err != nil {
			return r, err
		}
		if err := lstat(dir, name, st); err != nil {
			return nil, err
		}
		if uint32(st.Mode)&unix.S_IFMT != unix.S_IFREG {
			return nil, errNotFile
		}
	}
	return nil, errChanging
}

// readOnce returns no record if what it read is not, or no longer, what has stamp.
func readOnce(ctx context.Context, dir int, name string, stamp cache.FileStamp) (*cache.StatRecord, error) {
	fd, err := openAt(dir, name, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	r := &cache.StatRecord{FileStamp: stamp}
	size, err := sum(ctx, fd, r)
	if err == unix.EAGAIN || err == unix.EISDIR { // a pipe, a directory: no longer the file
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if r.Extra, err = readXattrs(fd); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	if size != stamp.Size || stampOf(&st) != stamp {
		return nil, nil
	}
	return r, nil
}

// sum sets the digest of what fd holds, up to the size of the record, and
// returns how many bytes that were.
func sum(ctx context.Context, fd int, r *cache.StatRecord) (size int64, err error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	h := sha256.New()
	for size < r.Size {
		if ctx.Err() != nil {
			return size, context.Cause(ctx)
		}
		var n int
		if err := retry(func() (err error) { n, err = unix.Read(fd, *buf); return err }); err != nil {
			return size, err
		}
		if n == 0 {
			break
		}
		h.Write((*buf)[:n])
		size += int64(n)
	}
	h.Sum(r.Digest[:0])
	return size, nil
}
