package tasks

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/tools/txtar"
)

// A case of TestKeyOracle is a txtar file: the files of a build context and,
// before them, lines that say what no file can:
//
//	mkdir PATH MODE        symlink PATH TARGET     link PATH OTHER
//	fifo PATH MODE         socket PATH             device PATH MAJOR:MINOR
//	mode PATH MODE         tar PATH NAME=CONTENT…
//	dockerfile PATH        target STAGE            arg NAME VALUE
//	context NAME DIR       a named context, a directory of the case
//	tools                  a named context with the program tree
//	base [onbuild]         the argument BASE: an image in a registry
//	own                    see [oracle.same]
type oracleCase struct {
	name       string
	tree       tree
	dockerfile string
	target     string
	args       map[string]string
	contexts   map[string]string // directories by name
	tools      bool
	base       string // "", "plain" or "onbuild"
	own        bool
}

// tree is what is in a directory, by slash-separated path; parents of what is in
// it are there, too.
type tree map[string]*file

type file struct {
	kind    fs.FileMode // type bits; 0: a plain file
	mode    uint32      // as chmod takes it
	content string
	target  string // of a symbolic or hard link; of a device its numbers
	later   bool   // has another modification time than the others
	xattr   string
}

const hardLink = fs.ModeIrregular

func readCase(t *testing.T, name string) *oracleCase {
	a, err := txtar.ParseFile(name)
	must(t, err)
	c := &oracleCase{
		name: strings.TrimSuffix(filepath.Base(name), ".txtar"), tree: tree{}, dockerfile: "Dockerfile",
		args: map[string]string{}, contexts: map[string]string{},
	}
	for _, f := range a.Files {
		c.tree.add(f.Name, &file{mode: 0o644, content: string(f.Data)})
	}
	for line := range strings.Lines(string(a.Comment)) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		for len(f) < 3 {
			f = append(f, "")
		}
		switch f[0] {
		case "mkdir":
			c.tree.add(f[1], &file{kind: fs.ModeDir, mode: octal(t, f[2])})
		case "symlink":
			c.tree.add(f[1], &file{kind: fs.ModeSymlink, target: f[2]})
		case "link":
			c.tree.add(f[1], &file{kind: hardLink, target: f[2]})
		case "fifo":
			c.tree.add(f[1], &file{kind: fs.ModeNamedPipe, mode: octal(t, f[2])})
		case "socket":
			c.tree.add(f[1], &file{kind: fs.ModeSocket, mode: 0o755})
		case "device":
			c.tree.add(f[1], &file{kind: fs.ModeCharDevice, mode: 0o666, target: f[2]})
		case "mode":
			c.tree[f[1]].mode = octal(t, f[2])
		case "tar":
			c.tree.add(f[1], &file{mode: 0o644, content: tarOf(t, f[2:])})
		case "dockerfile":
			c.dockerfile = f[1]
		case "target":
			c.target = f[1]
		case "arg":
			c.args[f[1]] = f[2]
		case "context":
			c.contexts[f[1]] = f[2]
		case "tools":
			c.tools = true
		case "base":
			c.base = "plain"
			if f[1] != "" {
				c.base = f[1]
			}
		case "own":
			c.own = true
		default:
			t.Fatalf("%s: %q", name, line)
		}
	}
	return c
}

func octal(t *testing.T, s string) uint32 {
	n, err := strconv.ParseUint(s, 8, 12)
	must(t, err)
	return uint32(n)
}

func tarOf(t *testing.T, files []string) string {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		name, content, _ := strings.Cut(f, "=")
		must(t, w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), ModTime: time.Unix(1e9, 0)}))
		_, err := w.Write([]byte(content))
		must(t, err)
	}
	must(t, w.Close())
	return b.String()
}

// add puts a file into the tree, and its parents.
func (t tree) add(name string, f *file) {
	t[name] = f
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if t[dir] == nil {
			t[dir] = &file{kind: fs.ModeDir, mode: 0o755}
		}
	}
}

// remove takes a file out, and what is below it.
func (t tree) remove(name string) {
	maps.DeleteFunc(t, func(p string, f *file) bool {
		return p == name || strings.HasPrefix(p, name+"/") || f.kind == hardLink && f.target == name
	})
}

func (t tree) rename(from, to string) {
	moved := tree{}
	for p, f := range t {
		if p == from || strings.HasPrefix(p, from+"/") {
			moved[to+strings.TrimPrefix(p, from)] = f
		}
	}
	maps.DeleteFunc(t, func(p string, _ *file) bool { return moved[to+strings.TrimPrefix(p, from)] != nil })
	maps.Copy(t, moved)
	for _, f := range t {
		if f.kind == hardLink && (f.target == from || strings.HasPrefix(f.target, from+"/")) {
			f.target = to + strings.TrimPrefix(f.target, from)
		}
	}
}

func (t tree) clone() tree {
	c := tree{}
	for p, f := range t {
		n := *f
		c[p] = &n
	}
	return c
}

// write makes the tree below dir, all times the same but for what is later.
func (t tree) write(tb testing.TB, dir string, now time.Time) {
	tb.Helper()
	names := slices.Sorted(maps.Keys(t))
	slices.SortStableFunc(names, func(a, b string) int { // hard links last
		return int(t[a].kind&hardLink) - int(t[b].kind&hardLink)
	})
	for _, p := range names {
		f, name := t[p], filepath.Join(dir, p)
		switch f.kind {
		case fs.ModeDir:
			must(tb, os.Mkdir(name, 0o755))
		case fs.ModeSymlink:
			must(tb, os.Symlink(f.target, name))
		case fs.ModeNamedPipe:
			must(tb, unix.Mkfifo(name, 0o600))
		case fs.ModeSocket:
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
			must(tb, err)
			parent, err := os.Open(filepath.Dir(name)) // a socket's path is short
			must(tb, err)
			must(tb, unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/%s", parent.Fd(), filepath.Base(name))}))
			must(tb, errors.Join(unix.Close(fd), parent.Close()))
		case fs.ModeCharDevice:
			var major, minor uint32
			_, err := fmt.Sscanf(f.target, "%d:%d", &major, &minor)
			must(tb, err)
			must(tb, unix.Mknod(name, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor))))
		case hardLink:
			must(tb, os.Link(filepath.Join(dir, f.target), name))
		default:
			must(tb, os.WriteFile(name, []byte(f.content), 0o600))
		}
		if f.xattr != "" {
			must(tb, unix.Setxattr(name, "user.oracle", []byte(f.xattr), 0))
		}
	}
	for _, p := range slices.Backward(names) {
		f, name := t[p], filepath.Join(dir, p)
		if f.kind != fs.ModeSymlink && f.kind != hardLink {
			must(tb, unix.Chmod(name, f.mode))
		}
		at := now
		if f.later {
			at = now.Add(time.Hour)
		}
		tv := unix.NsecToTimeval(at.UnixNano())
		must(tb, unix.Lutimes(name, []unix.Timeval{tv, tv}))
	}
}

// edit is one change of one file.
type edit struct {
	what string // "content", "mode", …
	name string
	make func(tree)
}

// edits returns every change of one file of a tree that the oracle tries.
func edits(base tree, xattrs bool) []edit {
	var all []edit
	add := func(what, name string, f func(tree)) { all = append(all, edit{what, name, f}) }
	grow := func(dir string) {
		for _, n := range []string{"new", "new.go", "ab.txt", ".hidden"} {
			if name := path.Join(dir, n); base[name] == nil {
				add("add", name, func(t tree) { t.add(name, &file{mode: 0o644, content: "new"}) })
			}
		}
		if name := path.Join(dir, "newdir"); base[name] == nil {
			add("add directory", name, func(t tree) { t.add(name, &file{kind: fs.ModeDir, mode: 0o755}) })
		}
	}
	grow(".")
	for _, p := range slices.Sorted(maps.Keys(base)) {
		f := base[p]
		add("remove", p, func(t tree) { t.remove(p) })
		add("rename", p, func(t tree) { t.rename(p, p+"-renamed") })
		add("time", p, func(t tree) { t[p].later = true })
		if f.kind != fs.ModeSymlink && f.kind != hardLink {
			add("mode", p, func(t tree) { t[p].mode ^= 0o111 })
		}
		switch f.kind {
		case 0:
			add("content", p, func(t tree) { t[p].content = strings.Repeat("#", len(f.content)) })
			add("append", p, func(t tree) { t[p].content += "# more\n" })
			add("empty", p, func(t tree) { t[p].content = "" })
			add("set-user-ID", p, func(t tree) { t[p].mode ^= 0o4000 })
			add("to directory", p, func(t tree) { t.remove(p); t.add(p, &file{kind: fs.ModeDir, mode: 0o755}) })
			add("to link", p, func(t tree) {
				t.remove(p)
				t.add(p, &file{kind: fs.ModeSymlink, target: "Dockerfile"})
			})
			if xattrs {
				add("xattr", p, func(t tree) { t[p].xattr = "x" })
			}
		case fs.ModeDir:
			grow(p)
			add("to file", p, func(t tree) { t.remove(p); t.add(p, &file{mode: 0o644, content: "file"}) })
		case fs.ModeSymlink:
			for _, target := range []string{"Dockerfile", "../Dockerfile", "v2", "four", "/etc/passwd", "none"} {
				add("retarget", p, func(t tree) { t[p].target = target })
			}
		case hardLink:
			add("copy", p, func(t tree) {
				content := t[f.target].content
				t.remove(p)
				t.add(p, &file{mode: 0o644, content: content})
			})
		}
	}
	return all
}

// takesXattrs tells whether the file system of dir has extended attributes for users.
func takesXattrs(t testing.TB, dir string) bool {
	err := unix.Setxattr(dir, "user.oracle", []byte("x"), 0)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	return err == nil
}
