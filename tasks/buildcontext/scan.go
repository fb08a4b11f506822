// Package buildcontext finds out what a build can see of a directory: the digest
// of it, the listing that the digest is of, and the file system to send.
//
// What is selected is what BuildKit's own sender would select with the same
// ignore patterns and follow paths. What is said of each selected entry, and so
// enters the digest, is in [Tree.Listing].
package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// Request asks for what a build can see of a directory.
type Request struct {
	Dir string // absolute; may be a symbolic link to a directory
	// Ignore is the patterns of the ignore file, as [IgnoreFile] returns them;
	// nil: none.
	Ignore []string
	// Follow is the paths that the build reads, as BuildKit's followpaths: they
	// may hold wildcards, and symbolic links on the way are followed within Dir.
	// nil: everything; empty but not nil: nothing.
	Follow []string
}

// Scanner scans directories. It is for any number of goroutines: scans of
// different directories run side by side, those of one directory in turn, and
// no file that stays as it is gets read twice.
type Scanner struct {
	store *cache.Store
	slots chan struct{} // one for each goroutine at work

	mu   sync.Mutex
	dirs map[string]*directory
}

// directory is what is kept of a directory between scans. Whoever took turn's
// one token may use the rest.
type directory struct {
	turn     chan struct{}
	table    *cache.StatTable
	listings map[cache.Digest][]byte // so that equal trees share one
}

// New returns a Scanner that keeps what it learns of files in store, or in
// memory only if store is nil. Its scans together use at most workers
// goroutines, at least one.
func New(store *cache.Store, workers int) *Scanner {
	return &Scanner{store: store, slots: make(chan struct{}, max(workers, 1)), dirs: map[string]*directory{}}
}

func (s *Scanner) directory(dir string) *directory {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.dirs[dir]
	if d == nil {
		d = &directory{turn: make(chan struct{}, 1), listings: map[cache.Digest][]byte{}}
		s.dirs[dir] = d
	}
	return d
}

// Scan reads the directory as it is now. To learn whether it has changed since,
// scan it again and compare digests: a file that has not is not read again,
// unless it changed within two seconds before the scan. An error names the path;
// it is an error if a selected entry cannot be read, goes away or keeps changing
// during the scan.
func (s *Scanner) Scan(ctx context.Context, req Request) (*Tree, error) {
	if !filepath.IsAbs(req.Dir) {
		return nil, fmt.Errorf("scan context %s: the path is not absolute", req.Dir)
	}
	req.Dir = filepath.Clean(req.Dir)
	d := s.directory(req.Dir)
	if err := take(ctx, d.turn); err != nil {
		return nil, fmt.Errorf("scan context %s: %w", req.Dir, err)
	}
	defer func() { <-d.turn }()
	if err := take(ctx, s.slots); err != nil {
		return nil, fmt.Errorf("scan context %s: %w", req.Dir, err)
	}
	defer func() { <-s.slots }()
	t, err := s.scan(ctx, d, req)
	if err != nil {
		return nil, fmt.Errorf("scan context %s: %w", req.Dir, err)
	}
	return t, nil
}

func take(ctx context.Context, token chan struct{}) error {
	select {
	case token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Scanner) scan(ctx context.Context, d *directory, req Request) (*Tree, error) {
	fd, err := openAt(unix.AT_FDCWD, req.Dir, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	if req.Follow != nil && len(req.Follow) == 0 {
		unix.Close(fd)
		return newTree(req.Dir, nil, d), nil
	}
	rules, err := newRules(req)
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	if d.table == nil {
		d.table = s.readTable(req.Dir)
	}
	w := &walk{
		dir: req.Dir, start: time.Now(), table: d.table, slots: s.slots,
		rules: rules, selectors: make(chan *selector, cap(s.slots)),
	}
	top, err := w.run(ctx, fd)
	if err != nil {
		return nil, err
	}
	l := &lister{table: d.table, text: make([]byte, 0, w.count.Load()*lineLength)}
	l.list(top, "")
	if req.Ignore == nil && req.Follow == nil {
		l.dropGone(top)
	}
	t := newTree(req.Dir, l.text, d)
	t.Files, t.Bytes = l.files, l.bytes
	return t, nil
}

func (s *Scanner) readTable(dir string) *cache.StatTable {
	if s.store == nil {
		return cache.NewStatTable(dir)
	}
	return s.store.ReadStatTable(dir)
}

// Save writes what the scans so far have learnt to the store, where it has
// changed. Call it when scanning is done; what is not saved is only slower next
// time.
func (s *Scanner) Save(ctx context.Context) error {
	if s.store == nil {
		return nil
	}
	s.mu.Lock()
	dirs := make([]*directory, 0, len(s.dirs))
	for _, d := range s.dirs {
		dirs = append(dirs, d)
	}
	s.mu.Unlock()
	var errs []error
	for _, d := range dirs {
		if err := take(ctx, d.turn); err != nil {
			return errors.Join(append(errs, err)...)
		}
		if d.table != nil {
			errs = append(errs, s.store.WriteStatTable(d.table))
		}
		<-d.turn
	}
	return errors.Join(errs...)
}
