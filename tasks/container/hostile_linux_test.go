package container

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		backendtest.Missing(t, "unpacking with owners and devices needs root")
	}
}

// unpackLayers packs an image with these layers on top of the suite's, and
// returns the root file system.
func unpackLayers(t *testing.T, limits Limits, layers ...[]byte) (root string, err error) {
	t.Helper()
	needRoot(t)
	s := newStore(t)
	b := New(Config{Store: s, StateDir: t.TempDir(), Limits: limits})
	image := backendtest.Image(t, s, backendtest.ImageConfig{Layers: layers})
	pack, err := b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform, Log: t.Output()})
	left, _ := filepath.Glob(filepath.Join(b.rootfsDir(), "*.*"))
	left = slices.DeleteFunc(left, func(name string) bool { return strings.HasSuffix(name, ".used") }) // when it was, for prune
	if len(left) > 0 {
		t.Errorf("Pack left %q", left)
	}
	if err != nil {
		if all, _ := os.ReadDir(b.rootfsDir()); len(all) > 0 {
			t.Errorf("a failed Pack left %v", all)
		}
		return "", err
	}
	doc, err := b.document(pack)
	if err != nil {
		t.Fatal(err)
	}
	return b.rootfsPath(doc), nil
}

func hardLink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}
}

// TestHostileLayers has layers reach for a file of the host and for a directory
// that it may not write to.
func TestHostileLayers(t *testing.T) {
	const secret = "a file of the host"
	for name, layer := range map[string]func(l *backendtest.Tar, host string){
		"dot-dot": func(l *backendtest.Tar, host string) {
			l.File(strings.Repeat("../", 20)+host+"/pwned", 0o644, "x")
		},
		"dot-dot below a directory": func(l *backendtest.Tar, host string) {
			l.File("bin/"+strings.Repeat("../", 20)+host+"/pwned", 0o644, "x")
		},
		"absolute": func(l *backendtest.Tar, host string) { l.File(host+"/pwned", 0o644, "x") },
		"absolute with dot-dot": func(l *backendtest.Tar, host string) {
			l.File("/.."+host+"/pwned", 0o644, "x")
		},
		"below an absolute link": func(l *backendtest.Tar, host string) {
			l.Symlink("out", host).File("out/pwned", 0o644, "x")
		},
		"below a relative link": func(l *backendtest.Tar, host string) {
			l.Symlink("out", strings.Repeat("../", 20)+host).File("out/pwned", 0o644, "x")
		},
		"below a link in a link": func(l *backendtest.Tar, host string) {
			l.Symlink("a", "b/c").Symlink("b", "/").Symlink("c", host).File("a/pwned", 0o644, "x")
		},
		"over a link to a file": func(l *backendtest.Tar, host string) {
			l.Symlink("out", host+"/secret").File("out", 0o644, "x")
		},
		"directory over a link": func(l *backendtest.Tar, host string) {
			l.Symlink("out", host).Dir("out", 0o777, 1234).File("out/pwned", 0o644, "x")
		},
		"hard link out": func(l *backendtest.Tar, host string) {
			l.Add(hardLink("stolen", strings.Repeat("../", 20)+host+"/secret"), "")
		},
		"absolute hard link": func(l *backendtest.Tar, host string) { l.Add(hardLink("stolen", host+"/secret"), "") },
		"hard link by a link": func(l *backendtest.Tar, host string) {
			l.Symlink("out", host).Add(hardLink("stolen", "out/secret"), "")
		},
		"hard link to a link": func(l *backendtest.Tar, host string) {
			l.Symlink("out", host+"/secret").Add(hardLink("stolen", "out"), "").File("stolen", 0o644, "x")
		},
		"whiteout by a link": func(l *backendtest.Tar, host string) {
			l.Symlink("out", host).File("out/.wh.secret", 0o644, "")
		},
		"whiteout of the parent":   func(l *backendtest.Tar, host string) { l.File(".wh...", 0o644, "") },
		"whiteout of itself":       func(l *backendtest.Tar, host string) { l.File("bin/.wh..", 0o644, "") },
		"whiteout of dot-dot":      func(l *backendtest.Tar, host string) { l.File("bin/.wh...", 0o644, "") },
		"opaque directory, linked": func(l *backendtest.Tar, host string) { l.Symlink("out", host).File("out/.wh..wh..opq", 0o644, "") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host := t.TempDir()
			if err := os.WriteFile(filepath.Join(host, "secret"), []byte(secret), 0o600); err != nil {
				t.Fatal(err)
			}
			before, err := os.Stat(host)
			if err != nil {
				t.Fatal(err)
			}
			l := backendtest.NewTar(t)
			layer(l, host)
			root, err := unpackLayers(t, Limits{}, l.Bytes())
			t.Logf("Pack: %v", err) // refused or confined, either will do

			entries, err := os.ReadDir(host)
			if err != nil || len(entries) != 1 {
				t.Errorf("the host's directory has %v, %v", entries, err)
			}
			if b, err := os.ReadFile(filepath.Join(host, "secret")); string(b) != secret {
				t.Errorf("the host's file is %q, %v", b, err)
			}
			if after, err := os.Stat(host); err != nil || after.Mode() != before.Mode() {
				t.Errorf("the host's directory changed: %v, %v", after.Mode(), err)
			}
			if root != "" {
				wantNoFile(t, root, secret)
			}
		})
	}
}

// wantNoFile reports files below root that hold the text.
func wantNoFile(t *testing.T, root, text string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && string(b) == text {
			t.Errorf("%s is the host's file", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestUnpack(t *testing.T) {
	const xattr = "SCHILY.xattr."
	root, err := unpackLayers(t, Limits{}, backendtest.NewTar(t).
		Add(tar.Header{Typeflag: tar.TypeChar, Name: "dev/mem", Mode: 0o666, Devmajor: 1, Devminor: 1}, "").
		Add(tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Mode: 0o666, Devmajor: 254}, "").
		Add(tar.Header{Typeflag: tar.TypeChar, Name: "dir/new", Mode: 0o666}, ""). // an overlay's whiteout
		Add(tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600, Uid: 7, Gid: 8}, "").
		Add(tar.Header{Typeflag: tar.TypeReg, Name: "suid", Mode: 0o4755, Uid: 1000, Gid: 50}, "x").
		Add(tar.Header{Typeflag: tar.TypeLink, Name: "suid2", Linkname: "suid", Mode: 0o4755, Uid: 1000, Gid: 50}, "").
		Add(hardLink("guest2", "/bin/guest"), "").
		Add(tar.Header{Typeflag: tar.TypeReg, Name: "x", Mode: 0o644, Format: tar.FormatPAX, PAXRecords: map[string]string{
			xattr + "user.kept": "yes", xattr + "user.overlay.redirect": "/", xattr + "trusted.overlay.redirect": "/",
			xattr + "security.selinux": "x", xattr + "security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}}, "x").
		Dir("a", 0o711, 3).Add(tar.Header{Typeflag: tar.TypeReg, Name: "noparent/x", Mode: 0o600}, "x").
		Bytes())
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		".": "drwxr-xr-x 0:0", "fifo": "prw------- 7:8", "suid": "urwxr-xr-x 1000:50", "a": "drwx--x--x 3:3",
		"noparent": "drwxr-xr-x 0:0", "dev/mem": "", "disk": "", "dir/new": "-rw------- 0:0", "gone": "", "dir/old": "", "home/node": "drwxr-x--- 1000:1000",
	} {
		got := ""
		if fi, err := os.Lstat(filepath.Join(root, path)); err == nil {
			st := fi.Sys().(*unixStat)
			got = fi.Mode().String() + " " + itoa(st.Uid) + ":" + itoa(st.Gid)
		}
		if got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	for _, pair := range [][2]string{{"suid", "suid2"}, {"bin/guest", "guest2"}} {
		a, aerr := os.Stat(filepath.Join(root, pair[0]))
		b, berr := os.Stat(filepath.Join(root, pair[1]))
		if aerr != nil || berr != nil || !os.SameFile(a, b) {
			t.Errorf("%q are not one file: %v, %v", pair, aerr, berr)
		}
	}
	buf := make([]byte, 1024)
	n, err := unix.Llistxattr(filepath.Join(root, "x"), buf)
	if got := strings.Split(strings.Trim(string(buf[:max(n, 0)]), "\x00"), "\x00"); err != nil || !sameSet(got, "user.kept", "security.capability") {
		t.Errorf("extended attributes: %q, %v", got, err)
	}
}

func TestLimits(t *testing.T) {
	many := backendtest.NewTar(t)
	for range 200 {
		many.Dir("d", 0o755, 0)
	}
	// A header that promises more than any disk has; nothing follows it.
	var huge bytes.Buffer
	w := tar.NewWriter(&huge)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "huge", Mode: 0o644, Size: 1 << 60}); err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 40<<20)
	for name, tc := range map[string]struct {
		layer  []byte
		limits Limits
	}{
		"entries":               {many.Bytes(), Limits{Entries: 150}},
		"bytes":                 {backendtest.NewTar(t).File("zeros", 0o644, string(zeros)).Bytes(), Limits{Bytes: 30 << 20}},
		"promised bytes":        {huge.Bytes(), Limits{}},
		"bytes after the end":   {append(backendtest.NewTar(t).Bytes(), zeros...), Limits{Entries: 100, Bytes: 30 << 20}},
		"bytes across the file": {backendtest.NewTar(t).Dir("d", 0o755, 0).Bytes(), Limits{Bytes: 1 << 20}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := unpackLayers(t, tc.limits, tc.layer); !errors.Is(err, errTooBig) {
				t.Errorf("Pack = %v, want errTooBig", err)
			}
		})
	}
}

func TestPackRefuses(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	b := New(Config{Store: s, StateDir: t.TempDir()})
	_, doc, err := b.describe(backend.PackRequest{Image: backendtest.Image(t, s, backendtest.ImageConfig{}), Platform: backendtest.Platform})
	if err != nil {
		t.Fatal(err)
	}
	doc.Layers[1].DiffID = cache.DigestOf([]byte("another"))
	if _, err := b.rootfs(t.Context(), doc, nil); err == nil || !strings.Contains(err.Error(), "config says") {
		t.Errorf("wrong diff ID: %v", err)
	}
	for name, layer := range map[string][]byte{"no tar": []byte(strings.Repeat("no tar", 1000)), "truncated": bytes.Repeat([]byte("x"), 100)} {
		if _, err := unpackLayers(t, Limits{}, layer); err == nil {
			t.Errorf("%s: Pack = nil", name)
		}
	}
}

// TestRootfsIsShared: whoever comes second, or at the same time, waits and takes
// what is there; what a dead process left is removed.
func TestRootfsIsShared(t *testing.T) {
	needRoot(t)
	s := newStore(t)
	b := New(Config{Store: s, StateDir: t.TempDir()})
	_, doc, err := b.describe(backend.PackRequest{Image: backendtest.Image(t, s, backendtest.ImageConfig{}), Platform: backendtest.Platform})
	if err != nil {
		t.Fatal(err)
	}
	for _, stale := range []string{b.rootfsPath(doc) + partialSuffix, filepath.Join(b.rootfsDir(), "other"+partialSuffix)} {
		if err := os.MkdirAll(filepath.Join(stale, "bin/guest/is/a/directory"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	const n = 4
	for range n {
		go func() {
			_, err := New(b.conf).rootfs(t.Context(), doc, nil)
			done <- err
		}()
	}
	for range n {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	// One that died once all was unpacked has left its lock.
	if err := os.WriteFile(b.rootfsPath(doc)+lockSuffix, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.rootfs(t.Context(), doc, nil); err != nil {
		t.Error(err)
	}
	entries, err := os.ReadDir(b.rootfsDir())
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return e.Name() == doc.chain()+".used" })
	if err != nil || len(entries) != 1 || entries[0].Name() != doc.chain() {
		t.Errorf("rootfs has %v, %v; want %s alone", entries, err, doc.chain())
	}
}
