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
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"bottlebuild/cache"
)

func TestListing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/b.txt"), "b", 0o644)
	write(t, filepath.Join(dir, "a-b"), "", 0o4755)
	write(t, filepath.Join(dir, "tab\t\"é\xff"), "x", 0o600)
	must(t, os.Symlink("/etc/pass wd", filepath.Join(dir, "link")))
	must(t, unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	must(t, os.Chmod(filepath.Join(dir, "a"), 0o755))
	must(t, os.Chmod(filepath.Join(dir, "a-b"), 0o755|os.ModeSetuid))
	tree := scan(t, New(nil, 1), Request{Dir: dir})
	want := strings.Join([]string{
		`d 0755 "a"`,
		`f 0644 "a/b.txt" 1 ` + cache.DigestOf([]byte("b")).Hex(),
		`f 4755 "a-b" 0 ` + cache.DigestOf(nil).Hex(),
		`l 0777 "link" "/etc/pass wd"`,
		`p 0600 "pipe"`,
		`f 0600 "tab\t\"\u00e9\xff" 1 ` + cache.DigestOf([]byte("x")).Hex(),
		"",
	}, "\n")
	if diff := cmp.Diff(want, string(tree.Listing())); diff != "" {
		t.Errorf("listing (-want +got):\n%s", diff)
	}
	if tree.Digest != cache.DigestOf(tree.Listing()) || tree.Files != 3 || tree.Bytes != 2 {
		t.Errorf("digest %s, %d files, %d bytes", tree.Digest, tree.Files, tree.Bytes)
	}
}

// TestDigestSees makes one change each and expects that the digest tells it, or
// for what must not count, that it does not.
func TestDigestSees(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(dir string) error
		want   []FileChange
	}{
		{"nothing", func(string) error { return nil }, nil},
		{"time", func(d string) error { return os.Chtimes(filepath.Join(d, "f"), time.Unix(1, 0), time.Unix(1, 0)) }, nil},
		{"directory time", func(d string) error { return os.Chtimes(filepath.Join(d, "d"), time.Unix(1, 0), time.Unix(1, 0)) }, nil},
		{"mode of the top", func(d string) error { return os.Chmod(d, 0o700) }, nil},
		{"rewritten", func(d string) error { return os.WriteFile(filepath.Join(d, "f"), []byte("one"), 0o644) }, nil},
		{"hard link", func(d string) error {
			if err := os.Remove(filepath.Join(d, "same")); err != nil {
				return err
			}
			return os.Link(filepath.Join(d, "f"), filepath.Join(d, "same"))
		}, nil},
		{"content", func(d string) error { return os.WriteFile(filepath.Join(d, "f"), []byte("two"), 0o644) }, []FileChange{{"f", ChangedContent}}},
		{"mode", func(d string) error { return os.Chmod(filepath.Join(d, "f"), 0o755) }, []FileChange{{"f", ChangedMode}}},
		{"sticky", func(d string) error { return os.Chmod(filepath.Join(d, "d"), 0o755|os.ModeSticky) }, []FileChange{{"d", ChangedMode}}},
		{"target", func(d string) error {
			if err := os.Remove(filepath.Join(d, "l")); err != nil {
				return err
			}
			return os.Symlink("g", filepath.Join(d, "l"))
		}, []FileChange{{"l", ChangedTarget}}},
		{"type", func(d string) error {
			if err := os.Remove(filepath.Join(d, "l")); err != nil {
				return err
			}
			return os.Mkdir(filepath.Join(d, "l"), 0o777)
		}, []FileChange{{"l", ChangedType}}},
		{"renamed", func(d string) error { return os.Rename(filepath.Join(d, "f"), filepath.Join(d, "g")) }, []FileChange{{"f", Removed}, {"g", Added}}},
		{"empty directory", func(d string) error { return os.Mkdir(filepath.Join(d, "e"), 0o755) }, []FileChange{{"e", Added}}},
		{"content and mode", func(d string) error {
			if err := os.WriteFile(filepath.Join(d, "f"), []byte("three"), 0o644); err != nil {
				return err
			}
			return os.Chmod(filepath.Join(d, "f"), 0o600)
		}, []FileChange{{"f", ChangedContent}, {"f", ChangedMode}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, filepath.Join(dir, "f"), "one", 0o644)
			write(t, filepath.Join(dir, "same"), "one", 0o644)
			write(t, filepath.Join(dir, "d", "x"), "x", 0o644)
			must(t, os.Symlink("f", filepath.Join(dir, "l")))
			s := New(nil, 2)
			before := scan(t, s, Request{Dir: dir})
			must(t, c.change(dir))
			after := scan(t, s, Request{Dir: dir})
			if diff := cmp.Diff(c.want, DiffListings(before.Listing(), after.Listing())); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if same := before.Digest == after.Digest; same != (c.want == nil) {
				t.Errorf("digests are equal: %v", same)
			}
		})
	}
}

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

// TestStatCache replaces a file behind the scanner's back in a way that only a
// scan which reads the file would see, to tell whether it is read.
func TestStatCache(t *testing.T) {
	store, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	must(t, err)
	defer store.Close()
	dir := t.TempDir()
	big := strings.Repeat("x", 300<<10) // enough for a table to be written
	write(t, filepath.Join(dir, "file"), big, 0o644)
	write(t, filepath.Join(dir, "gone"), big, 0o644)
	write(t, filepath.Join(dir, "skip/other"), big, 0o644)
	req := Request{Dir: dir}

	young := New(store, 1)
	truth := scan(t, young, req)
	if n := young.directory(dir).table.Len(); n != 0 {
		t.Errorf("%d files that are seconds old were trusted", n)
	}
	must(t, young.Save(t.Context()))
	if _, err := os.Stat(filepath.Join(store.Dir(), "stat")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a table without records was written: %v", err)
	}

	time.Sleep(2100 * time.Millisecond) // until the files are settled
	s := New(store, 2)
	if got := scan(t, s, req); got.Digest != truth.Digest {
		t.Errorf("digest %s, then %s", truth.Digest, got.Digest)
	}
	must(t, s.Save(t.Context()))

	table := store.ReadStatTable(dir)
	if table.Len() != 3 {
		t.Fatalf("the table holds %d files, not 3", table.Len())
	}
	lie := cache.DigestOf([]byte("from the table"))
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(dir, "file"), &st))
	table.Put("file", &cache.StatRecord{FileStamp: stampOf(&st), Digest: lie})
	must(t, store.WriteStatTable(table))
	liar := New(store, 2)
	if tree := scan(t, liar, req); !strings.Contains(string(tree.Listing()), lie.Hex()) {
		t.Error("a file that had not changed was read again")
	}

	// Same size, same times as far as a user can set them.
	write(t, filepath.Join(dir, "file"), strings.Replace(big, "x", "y", 1), 0o644)
	must(t, os.Chtimes(filepath.Join(dir, "file"), time.Unix(0, st.Mtim.Nano()), time.Unix(0, st.Mtim.Nano())))
	if tree := scan(t, liar, req); strings.Contains(string(tree.Listing()), lie.Hex()) || tree.Digest == truth.Digest {
		t.Error("a file that had changed was not read again")
	}

	// Only a scan that sees everything knows what is gone.
	must(t, os.Remove(filepath.Join(dir, "gone")))
	scan(t, liar, Request{Dir: dir, Ignore: []string{"skip"}})
	if n := liar.directory(dir).table.Len(); n != 3 {
		t.Errorf("after a scan of a part %d files are known, not 3", n)
	}
	scan(t, liar, req)
	must(t, liar.Save(t.Context()))
	after := store.ReadStatTable(dir)
	must(t, unix.Lstat(filepath.Join(dir, "skip/other"), &st))
	if after.Lookup("skip/other", stampOf(&st)) == nil || after.Len() != 2 {
		t.Errorf("after a scan of all %d files are known, not 2 with skip/other", after.Len())
	}
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

func TestIgnoreFile(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	write(t, filepath.Join(other, "secret"), "stolen", 0o644)
	check := func(name, dockerfile string, want []string, wantErr string) {
		t.Helper()
		got, err := IgnoreFile(dir, dockerfile)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: patterns (-want +got):\n%s", name, diff)
		}
		if (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%s: error %v, wanted %q", name, err, wantErr)
		}
	}
	file, special := filepath.Join(dir, ".dockerignore"), filepath.Join(other, "Dockerfile.dockerignore")
	check("none", filepath.Join(other, "Dockerfile"), nil, "")
	write(t, file, "# comment\n\n /a/../b/ \n!c\n", 0o644)
	check("in the context", filepath.Join(other, "Dockerfile"), []string{"b", "!c"}, "")
	check("inline Dockerfile", "", []string{"b", "!c"}, "")
	write(t, special, "special\n", 0o644)
	check("beside the Dockerfile", filepath.Join(other, "Dockerfile"), []string{"special"}, "")
	check("of another Dockerfile", filepath.Join(other, "Other"), []string{"b", "!c"}, "")
	write(t, special, "", 0o644)
	check("empty beside the Dockerfile", filepath.Join(other, "Dockerfile"), nil, "")
	write(t, file, strings.Repeat("a\n", maxIgnoreFile), 0o644)
	check("too large", "", nil, "more than")
	must(t, os.Remove(file))
	must(t, unix.Mkfifo(file, 0o644))
	check("pipe", "", nil, "not a plain file")
	must(t, os.Remove(file))
	must(t, os.Symlink(filepath.Join(other, "secret"), file))
	check("link that leads out", "", nil, "escapes")
	must(t, os.Remove(file))
	write(t, filepath.Join(dir, "real"), "r\n", 0o644)
	must(t, os.Symlink("real", file))
	check("link", "", []string{"r"}, "")
}

// TestEntryRoundTrip writes entries at random and reads them again.
func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.StringMatching(`[^/\x00]{1,8}`).Filter(func(s string) bool { return s != "." && s != ".." })
		name := strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "path"), "/")
		n := &node{
			kind: rapid.SampledFrom([]kind{kindFile, kindDir, kindLink, kindPipe, kindChar, kindBlock}).Draw(t, "kind"),
			perm: rapid.Uint32Range(0, 0o7777).Draw(t, "perm"),
		}
		switch n.kind {
		case kindFile:
			r := &cache.StatRecord{Digest: cache.DigestOf([]byte(name))}
			r.Size = rapid.Int64Min(0).Draw(t, "size")
			for _, x := range rapid.SliceOf(rapid.String()).Draw(t, "xattrs") {
				r.Extra += " " + string(appendQuoted(nil, x)) + "=" + string(appendQuoted(nil, x+"\xfe\" "))
			}
			n.record = r
		case kindLink:
			n.target = string(rapid.SliceOf(rapid.Byte()).Draw(t, "target"))
		case kindChar, kindBlock:
			n.target = "8:255"
		}
		l := &lister{}
		l.line(n, name)
		line, ok := strings.CutSuffix(string(l.text), "\n")
		if !ok || strings.Contains(line, "\n") {
			t.Fatalf("%q is not one line", l.text)
		}
		e, err := parseEntry(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.kind != n.kind || e.perm != n.perm || e.path != name || e.target != n.target {
			t.Fatalf("%s was read as %+v", line, e)
		}
		if n.kind == kindFile && (e.size != n.record.Size || e.digest != n.record.Digest || " "+e.extra != n.record.Extra && n.record.Extra != "") {
			t.Fatalf("%s was read as %+v", line, e)
		}
	})
}

func FuzzDiffListings(f *testing.F) {
	hex := cache.DigestOf(nil).Hex()
	f.Add([]byte(`f 0644 "a" 1 `+hex+"\n"), []byte(`f 0755 "a" 1 `+hex+` "user.a"="b"`+"\n"))
	f.Add([]byte("d 0755 \"x\"\nl 0777 \"y\" \"z\"\n"), []byte("c 0600 \"y\" 1:3\n"))
	f.Fuzz(func(t *testing.T, before, after []byte) {
		if c := DiffListings(before, before); len(c) != 0 {
			t.Errorf("a listing differs from itself: %v", c)
		}
		forth, back := DiffListings(before, after), DiffListings(after, before)
		if len(forth) != len(back) {
			t.Errorf("%d changes one way, %d the other", len(forth), len(back))
		}
		for _, c := range forth {
			if !fs.ValidPath(strings.ToValidUTF8(c.Path, "_")) {
				t.Errorf("change of %q", c.Path)
			}
		}
	})
}
