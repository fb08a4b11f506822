package buildcontext

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/moby/patternmatcher"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
)

// rules are the patterns that select entries. They follow fsutil's FilterFS,
// which is what BuildKit's sender runs; a test compares the two.
type rules struct {
	include, exclude []string // nil: no such filter
}

func newRules(req Request) (*rules, error) {
	r := &rules{exclude: req.Ignore}
	if req.Follow != nil {
		root, err := os.OpenRoot(req.Dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		// No targets means that one of the paths is the directory itself.
		if r.include, err = fsutil.FollowLinks(linkFS{root}, req.Follow); err != nil {
			return nil, fmt.Errorf("follow links of %q: %w", req.Follow, err)
		}
	}
	if _, err := r.selector(); err != nil {
		return nil, err
	}
	return r, nil
}

// selector decides about entries. It is for one goroutine.
type selector struct {
	include, exclude *matcher // nil: no such filter
	// All patterns that can bring in entries are plain paths, so that a directory
	// which is none of their parents need not be read.
	plainIncludes, plainExceptions bool
}

func (r *rules) selector() (*selector, error) {
	s := &selector{}
	var err error
	if len(r.include) > 0 {
		if s.include, err = newMatcher(r.include); err != nil {
			return nil, fmt.Errorf("paths %q: %w", r.include, err)
		}
		s.plainIncludes = plain(s.include, false)
	}
	if len(r.exclude) > 0 {
		if s.exclude, err = newMatcher(r.exclude); err != nil {
			return nil, fmt.Errorf("ignore patterns %q: %w", r.exclude, err)
		}
		s.plainExceptions = plain(s.exclude, true)
	}
	return s, nil
}

// matches is how a directory matched, which its entries' matches start from.
type matches struct {
	include, exclude matched
}

type verdict int

const (
	leave   verdict = iota // not selected, nor is anything below it
	descend                // not selected, but something below it may be
	selected
)

func (s *selector) visit(name string, dir bool, parent matches) (v verdict, m matches, err error) {
	v = selected
	var ok bool
	if s.include != nil {
		if ok, m.include, err = s.include.match(name, dir, parent.include); err != nil {
			return leave, m, fmt.Errorf("match paths: %w", err)
		}
		if !ok {
			if dir && s.plainIncludes && !reaches(s.include, name, false) {
				return leave, m, nil
			}
			v = descend
		}
	}
	if s.exclude != nil {
		if ok, m.exclude, err = s.exclude.match(name, dir, parent.exclude); err != nil {
			return leave, m, fmt.Errorf("match ignore patterns: %w", err)
		}
		if ok {
			if dir && s.plainExceptions && (!s.exclude.Exclusions() || !reaches(s.exclude, name, true)) {
				return leave, m, nil
			}
			v = descend
		}
	}
	if v == descend && !dir {
		v = leave
	}
	return v, m, nil
}

// check reports a selected file that fsutil's sender would list but then refuse
// to open, and so send as an empty file. That is so for patterns such as "x",
// "!x/y", "x", whose two ways of matching disagree about x/y.
func (s *selector) check(name string) error {
	for _, side := range []struct {
		m    *matcher
		want bool
	}{{s.include, true}, {s.exclude, false}} {
		if side.m == nil || !side.m.Exclusions() {
			continue
		}
		ok, err := side.m.matchOrParent(name)
		if err != nil {
			return fmt.Errorf("match %q: %w", name, err)
		}
		if ok != side.want {
			return fmt.Errorf("%q: the ignore patterns contradict each other about it, and a build would get an empty file; "+
				"leave out a pattern that says again, after a \"!\" pattern, what one before it says", name)
		}
	}
	return nil
}

// plain reports whether none of the patterns that bring in entries has wildcards.
func plain(m *matcher, exceptions bool) bool {
	for _, p := range m.Patterns() {
		if p.Exclusion() == exceptions && strings.ContainsAny(trimGlob(p), `*[]?^\`) {
			return false
		}
	}
	return true
}

// reaches reports whether a pattern that brings in entries is of one below dir.
func reaches(m *matcher, dir string, exceptions bool) bool {
	for _, p := range m.Patterns() {
		if p.Exclusion() == exceptions && strings.HasPrefix(trimGlob(p)+"/", dir+"/") {
			return true
		}
	}
	return false
}

func trimGlob(p *patternmatcher.Pattern) string {
	return strings.TrimSuffix(strings.TrimSuffix(p.String(), "/**"), "/*")
}

// linkFS shows a directory to fsutil.FollowLinks, which reads single entries and
// lists single directories, and skips whatever is below them.
type linkFS struct{ root *os.Root }

func (l linkFS) Walk(_ context.Context, target string, fn fs.WalkDirFunc) error {
	target = strings.TrimLeft(path.Clean(target), "/")
	if target == ".." || strings.HasPrefix(target, "../") { // none of our business
		return fmt.Errorf("%q: %w", target, fs.ErrNotExist)
	}
	if target != "." && target != "" {
		fi, err := l.root.Lstat(target)
		if errors.Is(err, syscall.ENOTDIR) {
			err = fs.ErrNotExist
		}
		if err != nil {
			return fmt.Errorf("%q: %w", target, err)
		}
		err = skipGone(l.show(target, fi.Mode(), fn))
		if err == fs.SkipDir || err == nil && !fi.IsDir() {
			return nil
		}
		if err != nil {
			return err
		}
	} else {
		target = "."
	}
	d, err := l.root.OpenFile(target, os.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("%q: %w", target, err)
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if err != nil {
		return fmt.Errorf("%q: %w", target, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) })
	for _, e := range entries {
		if err := skipGone(l.show(path.Join(target, e.Name()), e.Type(), fn)); err != nil && err != fs.SkipDir {
			return err
		}
	}
	return nil
}

// skipGone turns an error that says there is no such thing into fs.SkipDir, as
// fsutil does with what the function of a walk returns. FollowLinks counts on it.
func skipGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return fs.SkipDir
	}
	return err
}

func (l linkFS) show(name string, mode fs.FileMode, fn fs.WalkDirFunc) error {
	st := &types.Stat{Path: name, Mode: uint32(mode)}
	if mode&fs.ModeSymlink != 0 {
		link, err := l.root.Readlink(name)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		st.Linkname = link
	}
	return fn(name, &fsutil.DirEntryInfo{Stat: st}, nil)
}

// Open is never called.
func (l linkFS) Open(name string) (io.ReadCloser, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
}
