package buildcontext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"strconv"
	"strings"

	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// FS is a tree as the file system to hand to BuildKit as a local mount. It holds
// what the listing says, nothing else: owner and group 0; the time 0, but that of
// a file carries 30 bits of the hash of its content and extended attributes as
// nanoseconds. BuildKit's sync compares size, time and mode but not content, so
// that it sends again what has changed and nothing else.
//
// Files are read from the directory when BuildKit asks for them. One whose bytes
// are not those of the listing cannot be read to its end: what BuildKit gets is
// what the digest covers, also if somebody writes to the directory meanwhile.
//
// It may be used by any number of goroutines.
type FS struct {
	// Fail is called with what is wrong when a file is no longer what was scanned,
	// from any goroutine and perhaps more than once. It must cancel the build:
	// fsutil's sender does not tell the daemon that a file could not be read, and
	// both would wait for ever. The context's cause then says why. Set it, with
	// that of context.WithCancelCause, before the FS is used.
	Fail context.CancelCauseFunc

	dir     string
	entries []entry        // in the order of a walk
	index   map[string]int // by path
}

var _ fsutil.FS = (*FS)(nil)

// FS returns the tree as a file system. Its Fail is yet to be set.
func (t *Tree) FS() (*FS, error) {
	f := &FS{dir: t.dir, entries: make([]entry, 0, bytes.Count(t.listing, []byte("\n"))), index: map[string]int{}}
	for line := range strings.Lines(string(t.listing)) {
		e, err := parseEntry(strings.TrimSuffix(line, "\n"))
		if err != nil {
			return nil, fmt.Errorf("file system of context %s: %w", t.dir, err)
		}
		f.index[e.path] = len(f.entries)
		f.entries = append(f.entries, e)
	}
	return f, nil
}

// Walk implements fsutil.FS: fn is called for target and all below it, for all
// but the directory itself if that is the target.
func (f *FS) Walk(ctx context.Context, target string, fn fs.WalkDirFunc) error {
	target = strings.TrimLeft(path.Clean("/"+target), "/")
	from, below := 0, ""
	if target != "" {
		i, ok := f.index[target]
		if !ok {
			err := skipGone(fn(target, nil, &fs.PathError{Op: "lstat", Path: target, Err: fs.ErrNotExist}))
			if err == fs.SkipDir || err == fs.SkipAll {
				return nil
			}
			return err
		}
		from, below = i, target+"/"
	}
	skip := "" // a directory that fn does not want to see, with a slash
	for i := from; i < len(f.entries); i++ {
		e := &f.entries[i]
		if i > from && !strings.HasPrefix(e.path, below) {
			break
		}
		if skip != "" && strings.HasPrefix(e.path, skip) {
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		skip = ""
		err := skipGone(fn(e.path, &fsutil.DirEntryInfo{Stat: e.stat()}, nil))
		switch {
		case err == fs.SkipAll:
			return nil
		case err == fs.SkipDir && e.kind == kindDir:
			skip = e.path + "/"
		case err == fs.SkipDir: // the rest of its directory
			dir := path.Dir(e.path)
			if dir == "." || i == from {
				return nil
			}
			skip = dir + "/"
		case err != nil:
			return err
		}
	}
	return nil
}

// Open implements fsutil.FS. What goes wrong with a file that is in the tree is
// told by the reader: fsutil's sender takes an error of Open for an empty file.
func (f *FS) Open(name string) (io.ReadCloser, error) {
	i, ok := f.index[strings.TrimLeft(path.Clean("/"+name), "/")]
	if !ok || f.entries[i].kind != kindFile {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	e := &f.entries[i]
	r := &fileReader{fs: f, entry: e, hash: sha256.New()}
	if e.size == 0 { // perhaps a socket, which cannot be opened
		r.err = r.verify()
		return r, nil
	}
	var err error
	if r.file, err = openBelow(f.dir, e.path); err != nil {
		r.err = r.fail(err)
	}
	return r, nil
}

// stat returns the entry as it goes over the wire.
func (e *entry) stat() *types.Stat {
	st := &types.Stat{Path: e.path, Mode: uint32(e.mode()), Xattrs: maps.Clone(e.xattrs)}
	switch e.kind {
	case kindFile:
		st.Size, st.ModTime = e.size, e.time()
	case kindLink:
		st.Size, st.Linkname = int64(len(e.target)), e.target
	case kindChar, kindBlock:
		st.Devmajor, st.Devminor = e.major, e.minor
	}
	return st
}

// time returns nanoseconds since 1970, less than a second of them: image layers
// know seconds only.
func (e *entry) time() int64 {
	d := e.digest
	if e.extra != "" { // which BuildKit does not compare either
		d = cache.DigestOf(strconv.AppendQuote(d[:], e.extra))
	}
	return int64(binary.BigEndian.Uint64(d[:]) % 1e9)
}

func (e *entry) mode() fs.FileMode {
	m := fs.FileMode(e.perm & 0o777)
	for _, bit := range []struct {
		unix uint32
		mode fs.FileMode
	}{{unix.S_ISUID, fs.ModeSetuid}, {unix.S_ISGID, fs.ModeSetgid}, {unix.S_ISVTX, fs.ModeSticky}} {
		if e.perm&bit.unix != 0 {
			m |= bit.mode
		}
	}
	switch e.kind {
	case kindDir:
		m |= fs.ModeDir
	case kindLink:
		m |= fs.ModeSymlink
	case kindPipe:
		m |= fs.ModeNamedPipe
	case kindChar:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case kindBlock:
		m |= fs.ModeDevice
	}
	return m
}
