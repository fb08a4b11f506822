package buildcontext

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

func TestSelect(t *testing.T) {
	dir := t.TempDir()
	for _, f := range []string{"src/main.go", "src/a_test.go", "src/sub/x.go", "docs/a.md", "README.md", "node_modules/x/index.js", "real/data"} {
		write(t, filepath.Join(dir, f), f, 0o644)
	}
	must(t, os.Symlink("real", filepath.Join(dir, "link")))
	must(t, os.Symlink("../../../../etc", filepath.Join(dir, "out")))
	for _, c := range []struct {
		name           string
		ignore, follow []string
		want           string
	}{
		{"ignored and brought back", []string{"*", "!src", "**/*_test.go"}, nil, "src src/main.go src/sub src/sub/x.go"},
		{"parent of what was brought back", []string{"docs", "src", "!src/sub/x.go", "node_modules", "*.md", "link", "out", "real"}, nil, "src src/sub src/sub/x.go"},
		{"all ignored", []string{"*"}, nil, ""},
		{"none asked for", nil, []string{}, ""},
		{"all asked for", []string{"node_modules", "docs", "src", "real"}, []string{"/"}, "README.md link out"},
		{"through a link", nil, []string{"link/data"}, "link real real/data"},
		{"wildcard", nil, []string{"src/*.go"}, "src src/a_test.go src/main.go"},
		{"wildcard less ignored", []string{"**/*_test.go"}, []string{"src/*.go"}, "src src/main.go"},
		{"link that leads out", nil, []string{"out/passwd"}, "out"},
		{"not there", nil, []string{"gone/x"}, ""},
		{"above", nil, []string{"../x"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			tree := scan(t, New(nil, 2), Request{Dir: dir, Ignore: c.ignore, Follow: c.follow})
			var names []string
			must(t, fsOf(t, tree).Walk(t.Context(), "/", func(p string, _ fs.DirEntry, err error) error {
				names = append(names, p)
				return err
			}))
			if diff := cmp.Diff(c.want, strings.Join(names, " ")); diff != "" {
				t.Errorf("selection (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScanErrors(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "x/y"), "y", 0o644)
	write(t, filepath.Join(dir, "file"), "y", 0o644)
	for _, c := range []struct {
		name string
		req  Request
		want string
	}{
		{"relative", Request{Dir: "x"}, "not absolute"},
		{"missing", Request{Dir: filepath.Join(dir, "gone")}, "no such file"},
		{"a file", Request{Dir: filepath.Join(dir, "file")}, "not a directory"},
		{"pattern", Request{Dir: dir, Ignore: []string{"[a"}}, "syntax error"},
		{"lone exclamation mark", Request{Dir: dir, Ignore: []string{"!"}}, `illegal exclusion pattern`},
		{"contradiction", Request{Dir: dir, Ignore: []string{"x", "!x/y", "x"}}, `"x/y": the ignore patterns contradict`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := New(nil, 1).Scan(t.Context(), c.req)
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "scan context "+c.req.Dir) {
				t.Errorf("error %v, wanted one with %q", err, c.want)
			}
		})
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	if _, err := New(nil, 1).Scan(ctx, Request{Dir: dir}); err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("cancelled: %v", err)
	}
}

func TestScanUnreadable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	dir := t.TempDir()
	write(t, filepath.Join(dir, "secret"), "x", 0)
	write(t, filepath.Join(dir, "closed/x"), "x", 0o644)
	must(t, os.Chmod(filepath.Join(dir, "closed"), 0))
	defer os.Chmod(filepath.Join(dir, "closed"), 0o700)
	for ignored, want := range map[string]string{"secret": `"closed"`, "closed": `"secret"`} {
		_, err := New(nil, 1).Scan(t.Context(), Request{Dir: dir, Ignore: []string{ignored}})
		if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", ignored, err)
		}
	}
	scan(t, New(nil, 1), Request{Dir: dir, Ignore: []string{"closed", "secret", "!closed/y"}})
}

// TestScanDuringChanges replaces entries by others of every kind while it scans.
// A scan may fail, but neither hangs nor shows what is outside.
func TestScanDuringChanges(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), "outside", 0o644)
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	g.Go(func() error {
		for i := 0; ctx.Err() == nil; i++ {
			name := filepath.Join(dir, fmt.Sprint("e", i%7))
			os.RemoveAll(name)
			switch i % 5 {
			case 0:
				os.WriteFile(name, []byte("inside"), 0o644)
			case 1:
				unix.Mkfifo(name, 0o644)
			case 2:
				os.Symlink(filepath.Join(outside, "secret"), name)
			case 3:
				os.Symlink(outside, name)
			case 4:
				os.Mkdir(name, 0o755)
				os.WriteFile(filepath.Join(name, "secret"), []byte("inside"), 0o644)
			}
		}
		return nil
	})
	hidden := cache.DigestOf([]byte("outside")).Hex()
	s := New(nil, 2)
	for range 300 {
		tree, err := s.Scan(ctx, Request{Dir: dir})
		if err == nil && strings.Contains(string(tree.Listing()), hidden) {
			t.Errorf("what is outside stands in the listing:\n%s", tree.Listing())
		}
	}
	stop()
	must(t, g.Wait())
}

func TestScanAtOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 300 {
		write(t, filepath.Join(dir, fmt.Sprintf("d%d/f%d", i%7, i)), strings.Repeat("x", i*1000), 0o644)
	}
	want := scan(t, New(nil, 1), Request{Dir: dir})
	s := New(nil, 3)
	var g errgroup.Group
	for i := range 20 {
		g.Go(func() error {
			req := Request{Dir: dir}
			if i%2 == 0 {
				req.Dir = filepath.Join(dir, "d3")
			}
			tree, err := s.Scan(t.Context(), req)
			if err == nil && i%2 == 1 && tree.Digest != want.Digest {
				err = fmt.Errorf("digest %s, not %s", tree.Digest, want.Digest)
			}
			return err
		})
	}
	must(t, g.Wait())
	if n := len(s.slots); n != 0 {
		t.Errorf("%d slots were not given back", n)
	}
}

// TestNameNotUTF8: BuildKit refuses such a name without saying which.
func TestNameNotUTF8(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "sub", "caf\xe9"), "x", 0o644)
	write(t, filepath.Join(dir, "f"), "x", 0o644)
	_, err := New(nil, 1).Scan(t.Context(), Request{Dir: dir})
	if err == nil || !strings.Contains(err.Error(), `"sub/caf\xe9" is not in UTF-8`) {
		t.Errorf("error %v", err)
	}
	for _, req := range []Request{{Dir: dir, Follow: []string{"f"}}, {Dir: dir, Ignore: []string{"sub"}}, {Dir: dir, Ignore: []string{"sub/caf*"}}} {
		if tree, err := New(nil, 1).Scan(t.Context(), req); err != nil || tree.Files != 1 {
			t.Errorf("%v: error %v", req, err)
		}
	}
}

// TestWrittenWhileRead has a file be written to while it is read: what is said of
// it is all of one state.
func TestWrittenWhileRead(t *testing.T) {
	const blocks = 4 // more than one buffer
	for _, c := range []struct {
		name  string
		times int // how often it is written to
		flags int
		want  string // content that is found; empty: an error
	}{
		{"appended once", 1, os.O_APPEND, strings.Repeat("a", blocks*128<<10) + "more"},
		{"overwritten once", 1, 0, "more" + strings.Repeat("a", blocks*128<<10-4)},
		{"appended each time", attempts, os.O_APPEND, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			name := filepath.Join(dir, "f")
			write(t, name, strings.Repeat("a", blocks*128<<10), 0o644)
			fd, st, err := openDir(unix.AT_FDCWD, dir)
			must(t, err)
			defer unix.Close(fd)
			must(t, lstat(fd, "f", &st))
			left := c.times
			ctx := &asked{Context: t.Context(), do: func(n int) { // before each block
				if n%blocks == 2 && left > 0 {
					left--
					f, err := os.OpenFile(name, c.flags|os.O_WRONLY, 0)
					must(t, err)
					_, err = f.WriteString("more")
					must(t, errors.Join(err, f.Close()))
				}
			}}
			r, err := readFile(ctx, fd, "f", &st)
			switch {
			case left > 0:
				t.Error("it was not written to as often as it should have been")
			case c.want == "" && !errors.Is(err, errChanging):
				t.Errorf("error %v", err)
			case c.want != "" && (err != nil || r.Digest != cache.DigestOf([]byte(c.want)) || r.Size != int64(len(c.want))):
				t.Errorf("error %v, record %+v", err, r)
			}
		})
	}
}

// asked calls do each time that it is asked whether it is done.
type asked struct {
	context.Context
	n  int
	do func(n int)
}

func (c *asked) Err() error {
	c.n++
	c.do(c.n)
	return c.Context.Err()
}
