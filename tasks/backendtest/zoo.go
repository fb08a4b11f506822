package backendtest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

// zooTests are of an image with one of everything that images may hold, and a
// machine of it.
var zooTests = []testCase{
	{"ImageModes", nil, testZooModes},
	{"ImageOwners", nil, testZooOwners},
	{"ImageHardLinks", nil, testZooHardLinks},
	{"ImageSymlinks", nil, testZooSymlinks},
	{"ImageXattrs", nil, testZooXattrs},
	{"ImageBigFile", nil, testZooBigFile},
	{"ImageOddNames", nil, testZooNames},
	{"ImageLayers", nil, testZooLayers},
	{"ImageWhiteouts", nil, testZooWhiteouts},
}

const bigSize = 8 << 20

// bigContent is the same every time, and does not compress.
func bigContent() []byte {
	b := make([]byte, bigSize)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

var longName = strings.Repeat("n", 255)

func zooLayers(t *testing.T) [][]byte {
	file := func(name string, mode int64, uid, gid int) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Uid: uid, Gid: gid}
	}
	capability := map[string]string{"SCHILY.xattr.user.zoo": "value\x00with NUL", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
	withXattrs := file("zoo/xattrs", 0o755, 0, 0)
	withXattrs.PAXRecords, withXattrs.Format = capability, tar.FormatPAX
	first := NewTar(t).
		Dir("zoo/", 0o755, 0).
		Add(file("zoo/setuid", 0o4755, 0, 0), "x").Add(file("zoo/setgid", 0o2750, 0, 50), "x").Add(file("zoo/none", 0, 0, 0), "x").
		Dir("zoo/sticky/", 0o1777, 0).Dir("zoo/closed/", 0o700, 1000).
		Add(file("zoo/node", 0o600, 1000, 50), "x").Add(file("zoo/nobody", 0o644, 65534, 65534), "x").Add(file("zoo/large", 0o644, 2_000_000_000, 1_999_999_999), "x").
		Add(file("zoo/one", 0o644, 0, 0), "linked").
		Add(tar.Header{Typeflag: tar.TypeLink, Name: "zoo/two", Linkname: "zoo/one", Mode: 0o644}, "").
		Symlink("zoo/relative", "one").Symlink("zoo/absolute", "/zoo/one").Symlink("zoo/dangling", "/nowhere/at all").Symlink("zoo/loop", "loop").Symlink("zoo/up", "../../../../zoo/one").
		Add(withXattrs, "x").
		Add(file("zoo/"+longName, 0o644, 0, 0), "long").
		Add(file("zoo/"+strings.Repeat("deep/", 60)+"file", 0o644, 0, 0), "deep").
		Add(file("zoo/ä ☃\n-x", 0o644, 0, 0), "odd").
		File("zoo/big", 0o644, string(bigContent())).
		File("zoo/layers/0", 0o644, "of layer 0").File("zoo/removed/a", 0o644, "a").File("zoo/removed/b/c", 0o644, "c").
		File("zoo/opaque/old", 0o644, "old").File("zoo/file-then-dir", 0o644, "file").File("zoo/dir-then-file/x", 0o644, "x").File("zoo/back", 0o644, "first")
	layers := [][]byte{first.Bytes(), NewTar(t).Bytes()} // one has nothing in it
	for i := range 8 {
		layers = append(layers, NewTar(t).File(fmt.Sprintf("zoo/layers/%d", i+1), 0o644, fmt.Sprint("of layer ", i+1)).File("zoo/layers/last", 0o644, fmt.Sprint(i+1)).Bytes())
	}
	return append(layers,
		NewTar(t).File("zoo/removed/.wh.a", 0, "").File("zoo/removed/.wh.b", 0, "").File("zoo/.wh.back", 0, "").
			Dir("zoo/opaque/", 0o755, 0).File("zoo/opaque/.wh..wh..opq", 0, "").File("zoo/opaque/new", 0o644, "new").
			Dir("zoo/file-then-dir/", 0o755, 0).File("zoo/file-then-dir/x", 0o644, "x").File("zoo/dir-then-file", 0o644, "file").Bytes(),
		NewTar(t).File("zoo/back", 0o644, "second").Bytes())
}

func (f *fixture) animals(t *testing.T) string {
	t.Helper()
	if f.zoo.name == "" {
		c := f.imageConfig()
		c.Layers = zooLayers(t)
		f.zoo.name = f.keep(t, f.unnamed(), f.packImage(t, Image(t, f.store, c)))
	}
	return f.zoo.name
}

// wantStat compares what stat prints of files of the zoo; a directory's size is
// the file system's matter.
func (f *fixture) wantStat(t *testing.T, want [][2]string) {
	t.Helper()
	args := []string{"stat"}
	for _, w := range want {
		args = append(args, "/zoo/"+w[0])
	}
	got := strings.Split(f.guest(t, f.animals(t), args...), "\n")
	for i, w := range want {
		if i >= len(got) || !strings.HasPrefix(got[i]+" ", w[1]+" ") {
			t.Errorf("%s is %q, want %q", w[0], got[min(i, len(got)-1)], w[1])
		}
	}
}

func testZooModes(t *testing.T, f *fixture) {
	f.wantStat(t, [][2]string{
		{"setuid", "urwxr-xr-x 0:0"}, {"setgid", "grwxr-x--- 0:50"}, {"none", "---------- 0:0"}, {"sticky", "dtrwxrwxrwx 0:0"}, {"closed", "drwx------ 1000:1000"},
	})
}

func testZooOwners(t *testing.T, f *fixture) {
	f.wantStat(t, [][2]string{{"node", "-rw------- 1000:50"}, {"nobody", "-rw-r--r-- 65534:65534"}, {"large", "-rw-r--r-- 2000000000:1999999999"}})
	if f.h.NoUser {
		return
	}
	for user, want := range map[string]int{"node": 0, "1234": 1} {
		if r := f.exec(t, f.animals(t), backend.Exec{Args: []string{"/bin/guest", "cat", "/zoo/node"}, User: user}); r.Code != want {
			t.Errorf("as %s: %+v", user, r)
		}
	}
}

func testZooHardLinks(t *testing.T, f *fixture) {
	name := f.animals(t)
	lines := strings.Split(f.guest(t, name, "inode", "/zoo/one", "/zoo/two"), "\n")
	if len(lines) != 2 || lines[0] != lines[1] || !strings.HasSuffix(lines[0], " 2") {
		t.Errorf("inodes and links: %q, want one inode with 2", lines)
	}
	if got := f.guest(t, name, "cat", "/zoo/two"); got != "linked" {
		t.Errorf("content = %q", got)
	}
}

func testZooSymlinks(t *testing.T, f *fixture) {
	name := f.animals(t)
	got := f.guest(t, name, "readlink", "/zoo/relative", "/zoo/absolute", "/zoo/dangling", "/zoo/loop", "/zoo/up")
	if diff := cmp.Diff("one\n/zoo/one\n/nowhere/at all\nloop\n../../../../zoo/one", got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := f.guest(t, name, "cat", "/zoo/relative", "/zoo/absolute", "/zoo/up"); got != "linkedlinkedlinked" {
		t.Errorf("through the links: %q", got)
	}
}

func testZooXattrs(t *testing.T, f *fixture) {
	name := f.animals(t)
	for attr, want := range map[string]string{
		"user.zoo":            `"value\x00with NUL"`,
		"security.capability": `"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"`,
	} {
		if got := f.guest(t, name, "xattr", "/zoo/xattrs", attr); got != want {
			t.Errorf("%s = %s, want %s", attr, got, want)
		}
	}
}

func testZooBigFile(t *testing.T, f *fixture) {
	if got, want := f.guest(t, f.animals(t), "sum", "/zoo/big")+"\n", sumOf(bigContent()); got != want {
		t.Errorf("sum = %s, want %s", got, want)
	}
}

func testZooNames(t *testing.T, f *fixture) {
	got := f.guest(t, f.animals(t), "cat", "/zoo/"+longName, "/zoo/"+strings.Repeat("deep/", 60)+"file", "/zoo/ä ☃\n-x")
	if got != "longdeepodd" {
		t.Errorf("content = %q", got)
	}
}

func testZooLayers(t *testing.T, f *fixture) {
	name := f.animals(t)
	var all bytes.Buffer
	args := []string{"cat"}
	for i := range 9 {
		args = append(args, fmt.Sprintf("/zoo/layers/%d", i))
		fmt.Fprint(&all, "of layer ", i)
	}
	if got := f.guest(t, name, append(args, "/zoo/layers/last")...); got != all.String()+"8" {
		t.Errorf("content = %q", got)
	}
}

func testZooWhiteouts(t *testing.T, f *fixture) {
	name := f.animals(t)
	for dir, want := range map[string]string{"removed": "", "opaque": "new", "file-then-dir": "x"} {
		if got := f.guest(t, name, "ls", "/zoo/"+dir); got != want {
			t.Errorf("/zoo/%s has %q, want %q", dir, got, want)
		}
	}
	if got := f.guest(t, name, "cat", "/zoo/dir-then-file", "/zoo/back"); got != "filesecond" {
		t.Errorf("content = %q", got)
	}
}
