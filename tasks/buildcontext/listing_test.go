package buildcontext

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"bottlebuild/cache"
)

func TestListing(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a/b.txt"), "b", 0o644)
	write(t, filepath.Join(dir, "a-b"), "", 0o4755)
	write(t, filepath.Join(dir, "tab\t\"é"), "x", 0o600)
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
		`f 0600 "tab\t\"\u00e9" 1 ` + cache.DigestOf([]byte("x")).Hex(),
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

// TestEntryRoundTrip writes entries at random and reads them again.
func TestEntryRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		segment := rapid.StringMatching(`[^/\x00]{1,8}`).Filter(func(s string) bool { return s != "." && s != ".." })
		name := strings.Join(rapid.SliceOfN(segment, 1, 3).Draw(t, "path"), "/")
		at := strings.LastIndexByte(name, '/') + 1
		n := &node{
			name: name[at:],
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
		l.line(n, name[:at])
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
