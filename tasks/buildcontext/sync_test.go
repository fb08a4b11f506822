package buildcontext

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// stream is one end of a connection as fsutil wants it.
type stream struct {
	ctx      context.Context
	in       <-chan []byte
	out      chan<- []byte
	received *int // files whose content came in; nil: not counted
}

func (s *stream) Context() context.Context { return s.ctx }

func (s *stream) SendMsg(m any) error {
	b, err := m.(*types.Packet).Marshal()
	if err != nil {
		return err
	}
	select {
	case s.out <- b:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

func (s *stream) RecvMsg(m any) error {
	select {
	case b, ok := <-s.in:
		if !ok {
			return io.EOF
		}
		p := m.(*types.Packet)
		p.Reset()
		if err := p.Unmarshal(b); err != nil {
			return err
		}
		if s.received != nil && p.Type == types.PACKET_DATA && len(p.Data) == 0 {
			*s.received++
		}
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// transfer sends the tree to the directory dest as BuildKit's client and daemon do
// it, and returns how many files were transferred.
func transfer(t *testing.T, tree *Tree, dest string) (received int, err error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	f, err := tree.FS()
	if err != nil {
		return 0, err
	}
	f.Fail = cancel
	g, ctx := errgroup.WithContext(ctx)
	a, b := make(chan []byte, 32), make(chan []byte, 32)
	g.Go(func() error {
		defer close(b)
		return fsutil.Send(ctx, &stream{ctx, a, b, nil}, f, nil)
	})
	g.Go(func() error {
		return fsutil.Receive(ctx, &stream{ctx, b, a, &received}, dest, fsutil.ReceiveOpt{
			ContentHasher: func(*types.Stat) (hash.Hash, error) { return sha256.New(), nil },
			NotifyHashed:  func(fsutil.ChangeKind, string, os.FileInfo, error) error { return nil },
			Filter: func(_ string, st *types.Stat) bool { // as the daemon maps owners to its own
				st.Uid, st.Gid = uint32(os.Getuid()), uint32(os.Getgid())
				return true
			},
		})
	})
	if err := g.Wait(); err != nil {
		return received, context.Cause(ctx)
	}
	return received, nil
}

// fsOf returns the tree's file system, which must find nothing changed.
func fsOf(t *testing.T, tree *Tree) fsutil.FS {
	t.Helper()
	f, err := tree.FS()
	if err != nil {
		t.Fatal(err)
	}
	f.Fail = func(err error) { t.Error(err) }
	return f
}

func scan(t *testing.T, s *Scanner, req Request) *Tree {
	t.Helper()
	tree, err := s.Scan(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func write(t *testing.T, name, content string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(name), 0o755))
	must(t, os.WriteFile(name, []byte(content), 0o600))
	must(t, os.Chmod(name, mode))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestSync sends a tree of every kind of entry and scans what arrived: that the
// two listings are equal shows that what is sent is what the digest covers.
func TestSync(t *testing.T) {
	src, dest := t.TempDir(), t.TempDir()
	write(t, filepath.Join(src, "plain"), "hello", 0o644)
	write(t, filepath.Join(src, "bin/tool"), "#!/bin/sh", 0o755)
	write(t, filepath.Join(src, "empty"), "", 0o600)
	write(t, filepath.Join(src, `odd/q"uo te\`), "x", 0o644)
	write(t, filepath.Join(src, "odd/new\nline é"), "x", 0o644)
	write(t, filepath.Join(src, "big"), strings.Repeat("0123456789", 50_000), 0o444)
	must(t, os.Mkdir(filepath.Join(src, "hollow"), 0o755))
	must(t, os.Chmod(filepath.Join(src, "hollow"), 0o700|os.ModeSticky))
	must(t, os.Symlink("../../../etc/passwd", filepath.Join(src, "bin/escape")))
	must(t, os.Symlink("gone é", filepath.Join(src, "dangling")))
	must(t, os.Link(filepath.Join(src, "plain"), filepath.Join(src, "zz-linked")))
	must(t, unix.Mkfifo(filepath.Join(src, "pipe"), 0o644))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	defer unix.Close(fd)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: filepath.Join(src, "socket")}))
	must(t, os.Chmod(filepath.Join(src, "socket"), 0o644))
	if os.Geteuid() == 0 {
		must(t, os.Chmod(filepath.Join(src, "bin/tool"), 0o755|os.ModeSetuid)) // others lose it with lchown
		if err := unix.Mknod(filepath.Join(src, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
			t.Logf("no device in the tree: %v", err)
		}
	}
	if err := unix.Setxattr(filepath.Join(src, "plain"), "user.colour", []byte("blue\x00\xff"), 0); err != nil {
		t.Logf("no extended attribute in the tree: %v", err)
	}

	s := New(nil, 2)
	tree := scan(t, s, Request{Dir: src})
	if _, err := transfer(t, tree, dest); err != nil {
		t.Fatal(err)
	}
	arrived := scan(t, s, Request{Dir: dest})
	if diff := cmp.Diff(string(tree.Listing()), string(arrived.Listing())); diff != "" {
		t.Errorf("what arrived differs from what was scanned (-scanned +arrived):\n%s", diff)
	}
	if tree.Digest != arrived.Digest {
		t.Errorf("digests differ: %s, %s", tree.Digest, arrived.Digest)
	}
	var links int
	must(t, fsOf(t, arrived).Walk(t.Context(), "/", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := e.Info()
		if st := fi.Sys().(*types.Stat); st.Uid != 0 || st.Gid != 0 || st.ModTime >= 1e9 || fi.Mode().IsRegular() && st.Linkname != "" {
			t.Errorf("%s is sent as %v", p, st)
		}
		links++
		return err
	}))
	if want := bytes.Count(tree.Listing(), []byte("\n")); links != want {
		t.Errorf("%d entries are sent, %d stand in the listing", links, want)
	}

	// The same again transfers nothing, since nothing is other than it was.
	if n, err := transfer(t, scan(t, s, Request{Dir: src}), dest); err != nil || n != 0 {
		t.Errorf("sent again: %d files were transferred, error %v", n, err)
	}
}

// TestSyncSeesContent edits a file so that its size and time stay as they were,
// which BuildKit's own sync would take for unchanged.
func TestSyncSeesContent(t *testing.T) {
	src, dest := t.TempDir(), t.TempDir()
	name := filepath.Join(src, "file")
	old := time.Unix(1_600_000_000, 0)
	s := New(nil, 1)
	for i, content := range []string{"one", "two", "two", "six"} {
		write(t, name, content, 0o644)
		must(t, os.Chtimes(name, old, old))
		n, err := transfer(t, scan(t, s, Request{Dir: src}), dest)
		if err != nil {
			t.Fatal(err)
		}
		if want := map[int]int{0: 1, 1: 1, 2: 0, 3: 1}[i]; n != want {
			t.Errorf("step %d: %d files were transferred, not %d", i, n, want)
		}
		got, err := os.ReadFile(filepath.Join(dest, "file"))
		if err != nil || string(got) != content {
			t.Fatalf("step %d: BuildKit has %q, %v; the file is %q", i, got, err, content)
		}
	}
}

// TestSyncXattrs changes nothing but an extended attribute, which BuildKit does
// not compare.
func TestSyncXattrs(t *testing.T) {
	src, dest := t.TempDir(), t.TempDir()
	name := filepath.Join(src, "file")
	write(t, name, "same", 0o644)
	s := New(nil, 1)
	for _, v := range []string{"one", "two"} {
		if err := unix.Setxattr(name, "user.v", []byte(v), 0); err != nil {
			t.Skipf("this file system has no extended attributes: %v", err)
		}
		tree := scan(t, s, Request{Dir: src})
		if _, err := transfer(t, tree, dest); err != nil {
			t.Fatal(err)
		}
		if arrived := scan(t, s, Request{Dir: dest}); arrived.Digest != tree.Digest {
			t.Errorf("xattr %q: arrived as\n%s", v, arrived.Listing())
		}
	}
}

// TestChangedSinceScan: whatever is done to a file between the scan and the
// transfer, no other bytes than those of the digest get through.
func TestChangedSinceScan(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret")
	write(t, outside, "hello", 0o644)
	for name, change := range map[string]func(t *testing.T, file string){
		"content":   func(t *testing.T, file string) { write(t, file, "HELLO", 0o644) },
		"longer":    func(t *testing.T, file string) { write(t, file, "hello, hello", 0o644) },
		"shorter":   func(t *testing.T, file string) { write(t, file, "hell", 0o644) },
		"gone":      func(t *testing.T, file string) { must(t, os.Remove(file)) },
		"directory": func(t *testing.T, file string) { must(t, os.Remove(file)); must(t, os.Mkdir(file, 0o755)) },
		"pipe":      func(t *testing.T, file string) { must(t, os.Remove(file)); must(t, unix.Mkfifo(file, 0o644)) },
		"link":      func(t *testing.T, file string) { must(t, os.Remove(file)); must(t, os.Symlink(outside, file)) },
		"parent is a link": func(t *testing.T, file string) {
			must(t, os.Rename(filepath.Dir(file), filepath.Dir(file)+"-moved"))
			must(t, os.Symlink(filepath.Dir(file)+"-moved", filepath.Dir(file)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "sub", "file")
			write(t, file, "hello", 0o644)
			tree := scan(t, New(nil, 1), Request{Dir: dir})
			var told error
			f, err := tree.FS()
			must(t, err)
			f.Fail = func(err error) { told = err }
			change(t, file)
			r, err := f.Open("sub/file")
			if err != nil {
				t.Fatalf("Open: %v; fsutil's sender would send an empty file", err)
			}
			defer r.Close()
			if b, err := io.ReadAll(r); err == nil {
				t.Errorf("read %q without an error", b)
			} else if !strings.Contains(err.Error(), `"sub/file"`) {
				t.Errorf("the error does not name the file: %v", err)
			} else if told == nil || told.Error() != err.Error() {
				t.Errorf("told %v, not %v", told, err)
			}
			if _, err := transfer(t, tree, t.TempDir()); err == nil || !strings.Contains(err.Error(), `"sub/file"`) {
				t.Errorf("sending it has the error %v", err)
			}
		})
	}
}

func TestOpenOther(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "in"), "in", 0o644)
	write(t, filepath.Join(dir, "out"), "out", 0o644)
	f := fsOf(t, scan(t, New(nil, 1), Request{Dir: dir, Ignore: []string{"out"}}))
	for _, name := range []string{"out", "none", ".", "", "../" + filepath.Base(dir) + "/out"} {
		if _, err := f.Open(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open(%q): %v", name, err)
		}
	}
	r, err := f.Open("/in")
	must(t, err)
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "in" {
		t.Errorf("read %q, %v", b, err)
	}
	if err := f.Walk(t.Context(), "none", func(string, fs.DirEntry, error) error { return fmt.Errorf("seen") }); err == nil {
		t.Error("a walk of what is not there did not tell")
	}
}
