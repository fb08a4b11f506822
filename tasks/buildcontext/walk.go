package buildcontext

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// Bounds on what is scanned.
const (
	maxDepth   = 512     // directories within each other; also bounds open files
	maxEntries = 4 << 20 // selected, in all
)

// node is an entry that was found, or, with no kind, one that was left out.
type node struct {
	name     string
	kind     kind
	perm     uint32 // as chmod takes it
	selected bool   // else it is a directory that counts only for what is in it
	fresh    bool   // record is not in the table yet
	record   *cache.StatRecord
	target   string // of a symbolic link; of a device its numbers
	entries  []node // of a directory, by name
}

// walk is one scan of the tree. Directories are opened from their parent's
// descriptor and never through a symbolic link, so nothing outside is read
// whatever happens to the tree meanwhile. Whatever finds a free slot becomes a
// goroutine; where there is none, work is done in place.
type walk struct {
	dir   string
	start time.Time
	table *cache.StatTable // only looked up in
	slots chan struct{}
	rules *rules

	selectors chan *selector // at rest
	all       sync.WaitGroup
	count     atomic.Int64
	stop      context.CancelCauseFunc
}

// run walks the directory that fd is of, and closes fd.
func (w *walk) run(ctx context.Context, fd int) ([]node, error) {
	ctx, w.stop = context.WithCancelCause(ctx)
	defer w.stop(nil)
	var top []node
	w.with(func(s *selector) { w.directory(ctx, s, fd, "", matches{}, 0, &top) })
	w.all.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return top, nil
}

// with calls f with a selector that no other goroutine uses.
func (w *walk) with(f func(*selector)) {
	var s *selector
	select {
	case s = <-w.selectors:
	default:
		var err error
		if s, err = w.rules.selector(); err != nil {
			w.stop(err)
			return
		}
	}
	f(s)
	select {
	case w.selectors <- s:
	default:
	}
}

// fork runs f in a goroutine of its own, which wg waits for, if a slot is free.
func (w *walk) fork(wg *sync.WaitGroup, f func()) bool {
	select {
	case w.slots <- struct{}{}:
	default:
		return false
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer func() { <-w.slots }()
		f()
	}()
	return true
}

func (w *walk) fail(name, doing string, err error) {
	if name == "" {
		name = "."
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO):
		err = fmt.Errorf("it went away or was replaced during the scan; run again when nothing writes there: %w", err)
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("make it readable, or name it in the ignore file: %w", err)
	}
	w.stop(fmt.Errorf("%s %q: %w", doing, name, err))
}

const (
	// chunk is how many entries of a directory are looked at in one go.
	chunk = 64
	// bigFile is the size in bytes from which a file is worth a goroutine.
	bigFile = 64 << 10
)

// directory fills out with the entries of the directory that fd is of, and
// closes fd. Directories below may still be being filled when it returns.
func (w *walk) directory(ctx context.Context, s *selector, fd int, name string, m matches, depth int, out *[]node) {
	f := os.NewFile(uintptr(fd), filepath.Join(w.dir, name))
	defer f.Close()
	if depth > maxDepth {
		w.stop(fmt.Errorf("directory %q: directories nest deeper than %d", name, maxDepth))
		return
	}
	entries, err := f.ReadDir(-1)
	if err != nil {
		var perr *fs.PathError
		if errors.As(err, &perr) {
			err = perr.Err
		}
		w.fail(name, "read directory", err)
		return
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	nodes := make([]node, len(entries))
	*out = nodes
	var here sync.WaitGroup // all that uses fd
	defer here.Wait()
	part := func(s *selector, from, to int) {
		for i := from; i < to && ctx.Err() == nil; i++ {
			w.entry(ctx, s, &here, fd, name, entries[i], m, depth, &nodes[i])
		}
	}
	for from := 0; from < len(entries); from += chunk {
		to := min(from+chunk, len(entries))
		if to < len(entries) && w.fork(&here, func() { w.with(func(s *selector) { part(s, from, to) }) }) {
			continue
		}
		part(s, from, to)
	}
}

func (w *walk) entry(ctx context.Context, s *selector, here *sync.WaitGroup, fd int, parent string, e fs.DirEntry, m matches, depth int, n *node) {
	name := e.Name()
	if parent != "" {
		name = parent + "/" + name
	}
	v, below, err := s.visit(name, e.IsDir(), m)
	if err != nil {
		w.stop(err)
		return
	}
	if v == leave {
		return
	}
	if v == selected && w.count.Add(1) > maxEntries {
		w.stop(fmt.Errorf("it has more than %d entries; name what the build does not need in the ignore file", maxEntries))
		return
	}
	if v == selected && !utf8.ValidString(e.Name()) {
		w.stop(fmt.Errorf("the name of %q is not in UTF-8, and BuildKit sends no such files; rename it, or exclude it with a pattern in the ignore file", name))
		return
	}
	n.name, n.selected = e.Name(), v == selected
	if !e.IsDir() {
		w.leaf(ctx, s, here, fd, name, n)
		return
	}
	sub, st, err := openDir(fd, n.name)
	if v == descend && errors.Is(err, fs.ErrPermission) {
		return // as fsutil has it: nothing in it can be asked for
	}
	if err != nil {
		w.fail(name, "open directory", err)
		return
	}
	n.kind, n.perm = kindDir, uint32(st.Mode)&0o7777
	if !w.fork(&w.all, func() {
		w.with(func(s *selector) { w.directory(ctx, s, sub, name, below, depth+1, &n.entries) })
	}) {
		w.directory(ctx, s, sub, name, below, depth+1, &n.entries)
	}
}

// leaf looks at an entry that is no directory.
func (w *walk) leaf(ctx context.Context, s *selector, here *sync.WaitGroup, fd int, name string, n *node) {
	var st unix.Stat_t
	if err := lstat(fd, n.name, &st); err != nil {
		w.fail(name, "stat", err)
		return
	}
	n.perm = uint32(st.Mode) & 0o7777
	switch uint32(st.Mode) & unix.S_IFMT {
	case unix.S_IFREG:
		if err := s.check(name); err != nil {
			w.stop(err)
			return
		}
		n.kind = kindFile
		stamp := stampOf(&st)
		if stamp.Settled(w.start) {
			if n.record = w.table.Lookup(name, stamp); n.record != nil {
				return
			}
		}
		if st.Size >= bigFile {
			big := st
			if w.fork(here, func() { w.read(ctx, fd, name, n, &big) }) {
				return
			}
		}
		w.read(ctx, fd, name, n, &st)
	case unix.S_IFLNK:
		// Its own permissions mean nothing and differ between systems.
		n.kind, n.perm = kindLink, 0o777
		target, err := readLink(fd, n.name)
		if err != nil {
			w.fail(name, "read link", err)
			return
		}
		n.target = target
	case unix.S_IFSOCK:
		// fsutil clears the type and so sends an empty file.
		n.kind, n.record = kindFile, &cache.StatRecord{Digest: cache.DigestOf(nil)}
	case unix.S_IFIFO:
		n.kind = kindPipe
	case unix.S_IFCHR:
		n.kind, n.target = kindChar, deviceOf(&st)
	case unix.S_IFBLK:
		n.kind, n.target = kindBlock, deviceOf(&st)
	case unix.S_IFDIR:
		w.fail(name, "stat", syscall.ENOTDIR)
	default:
		w.stop(fmt.Errorf("stat %q: a file of type %o cannot be in a build context", name, uint32(st.Mode)&unix.S_IFMT))
	}
}

// read reads a file that the table does not know, or that is too young to trust.
func (w *walk) read(ctx context.Context, fd int, name string, n *node, st *unix.Stat_t) {
	r, err := readFile(ctx, fd, n.name, st)
	if err != nil {
		w.fail(name, "read", err)
		return
	}
	n.record, n.perm = r, r.Mode&0o7777
	n.fresh = r.Settled(w.start)
}
