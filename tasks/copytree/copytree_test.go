package copytree

import (
	"archive/tar"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree describes what is below dir: names with modes, and content or target.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		text := fi.Mode().String()
		switch {
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += " " + string(b)
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text = "-> " + to
		}
		rel, err := filepath.Rel(dir, p)
		all[rel] = text
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func source(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "src")
	for _, d := range []string{dir, filepath.Join(dir, "sub"), filepath.Join(dir, "shut")} {
		if err := os.Mkdir(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range map[string]string{"a": "A", "sub/b": "B", "shut/c": "C"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../a", filepath.Join(dir, "sub", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "shut"), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "shut"), 0o700) })
	return dir
}

// TestCopy copies by the rules of cp -r.
func TestCopy(t *testing.T) {
	src := source(t)
	whole := map[string]string{
		"a": "-rw-r----- A", "sub": "drwxr-x---", "sub/b": "-rw-r----- B", "sub/link": "-> ../a",
		"shut": "dr-x------", "shut/c": "-rw-r----- C",
	}
	below := func(dir string, parents ...string) map[string]string {
		m := map[string]string{dir: "drwxr-x---"}
		for _, p := range parents {
			m[p] = "drwxr-xr-x"
		}
		for k, v := range whole {
			m[filepath.Join(dir, k)] = v
		}
		return m
	}
	for name, c := range map[string]struct {
		from, as, to string // to: below a directory in which "there" is one
		want         map[string]string
	}{
		"directory as a new one":        {"", "src", "new", below("new")},
		"directory into one":            {"", "src", "there", below("there/src")},
		"directory into a new one":      {"", "src", "new/", below("new/src", "new")},
		"what is in it":                 {"", ".", "there", whole},
		"what is in it, into a new one": {"", ".", "p/new", whole},
		"file as a new one":             {"a", "a", "p/new", map[string]string{"p": "drwxr-xr-x", "p/new": "-rw-r----- A"}},
		"file into a directory":         {"a", "a", "there", map[string]string{"there/a": "-rw-r----- A"}},
		"file in place of one":          {"a", "a", "there/old", map[string]string{"there/old": "-rw-r----- A"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			t.Cleanup(func() { exposed(dir) })
			if err := os.Mkdir(filepath.Join(dir, "there"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "outside"), []byte("as it was"), 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "file in place of one" { // a link is replaced, not followed
				if err := os.Symlink("../outside", filepath.Join(dir, "there", "old")); err != nil {
					t.Fatal(err)
				}
			}
			var archive bytes.Buffer
			if err := Pack(&archive, filepath.Join(src, c.from), c.as); err != nil {
				t.Fatal(err)
			}
			if err := Receive(&archive, dir+"/"+c.to, Options{}); err != nil {
				t.Fatal(err)
			}
			got := tree(t, dir)
			if c.as == "." {
				got = tree(t, filepath.Join(dir, c.to))
			} else {
				delete(got, "outside")
				if got["there"] == "drwxr-xr-x" {
					delete(got, "there")
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if b, _ := os.ReadFile(filepath.Join(dir, "outside")); string(b) != "as it was" {
				t.Errorf("outside: %q", b)
			}
		})
	}
}

// exposed makes what a test has left removable by whoever is not root.
func exposed(dir string) {
	filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() {
			os.Chmod(p, 0o700)
		}
		return nil
	})
}

// TestHostile has archives try to write outside of their directory.
func TestHostile(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644} }
	dir := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
	link := func(name, to string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to} }
	for name, c := range map[string]struct {
		entries []tar.Header
		limits  Limits
		err     string // empty: the archive is fine
	}{
		"dots":                   {entries: []tar.Header{dir("d"), file("d/../../x")}, err: "outside"},
		"dots first":             {entries: []tar.Header{file("../x")}, err: "outside"},
		"absolute":               {entries: []tar.Header{dir("d"), file("/x")}, err: "outside"},
		"another top":            {entries: []tar.Header{dir("d"), file("e/x")}, err: "outside"},
		"through a link":         {entries: []tar.Header{dir("d"), link("d/l", "/"), file("d/l/x")}, err: "escapes"},
		"through a relative one": {entries: []tar.Header{dir("d"), link("d/l", "../../.."), file("d/l/x")}, err: "escapes"},
		"a link, then a file":    {entries: []tar.Header{dir("d"), link("d/x", "../outside"), file("d/x")}},
		"hard link out":          {entries: []tar.Header{dir("d"), hard("d/x", "../outside")}, err: "outside"},
		"hard link through one":  {entries: []tar.Header{dir("d"), link("d/l", ".."), hard("d/x", "d/l/../outside")}, err: "outside"},
		"hard link within":       {entries: []tar.Header{dir("d"), file("d/a"), hard("d/b", "d/a")}},
		"too many":               {entries: []tar.Header{dir("d"), file("d/a"), file("d/b")}, limits: Limits{Entries: 2}, err: "copy less"},
		"too much":               {entries: []tar.Header{{Typeflag: tar.TypeReg, Name: "d", Size: 11, Mode: 0o644}}, limits: Limits{Bytes: 10}, err: "copy less"},
		"device":                 {entries: []tar.Header{dir("d"), {Typeflag: tar.TypeChar, Name: "d/null"}}},
		"nothing":                {err: "empty"},
	} {
		t.Run(name, func(t *testing.T) {
			var archive bytes.Buffer
			w := tar.NewWriter(&archive)
			for _, h := range c.entries {
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
				w.Write(make([]byte, h.Size))
			}
			w.Close()
			around := t.TempDir()
			if err := os.WriteFile(filepath.Join(around, "outside"), []byte("as it was"), 0o600); err != nil {
				t.Fatal(err)
			}
			into := filepath.Join(around, "into")
			if err := os.Mkdir(into, 0o755); err != nil {
				t.Fatal(err)
			}
			err := Receive(&archive, into, Options{Limits: c.limits})
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			got := tree(t, around)
			for name := range got {
				if name != "outside" && name != "into" && !strings.HasPrefix(name, "into/") {
					t.Errorf("%s was made", name)
				}
				if strings.HasSuffix(name, "null") {
					t.Errorf("%s is there", name)
				}
			}
			if got["outside"] != "-rw------- as it was" {
				t.Errorf("outside: %s", got["outside"])
			}
		})
	}
}
