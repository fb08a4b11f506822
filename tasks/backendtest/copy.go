package backendtest

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/copytree"
)

var copyTests = []testCase{
	{"CopyTree", nil, testCopyTree},
	{"CopyTreeIntoDirectory", nil, testCopyTreeInto},
	{"CopyTreeFails", nil, testCopyTreeFails},
	{"Console", func(h Harness) bool { return !h.RunsEntrypoint }, testConsole},
	{"Signals", func(h Harness) bool { return !h.Isolated }, testSignals},
}

// packed is an archive of a small tree.
func packed(t *testing.T) (dir string, archive *bytes.Buffer) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "file"), []byte("content"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/file", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	archive = &bytes.Buffer{}
	if err := copytree.Pack(archive, dir, "tree"); err != nil {
		t.Fatal(err)
	}
	return dir, archive
}

// testCopyTree copies a directory in, and out again.
func testCopyTree(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	_, archive := packed(t)
	if err := f.b.Unpack(t.Context(), name, "/srv/copy", "node:staff", archive); err != nil {
		t.Fatal(err)
	}
	want := "drwxr-xr-x 1000:50 *\ndrwxr-xr-x 1000:50 *\n-rw-r----- 1000:50 7\nLrwxrwxrwx 1000:50 8"
	got := f.guest(t, name, "stat", "/srv/copy", "/srv/copy/sub", "/srv/copy/sub/file", "/srv/copy/link")
	lines := strings.Split(got, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "d") { // what a directory's size means is the file system's matter
			lines[i] = l[:strings.LastIndex(l, " ")] + " *"
		}
	}
	if diff := cmp.Diff(want, strings.Join(lines, "\n")); diff != "" {
		t.Errorf("stat (-want +got):\n%s", diff)
	}
	var out bytes.Buffer
	if err := f.b.CopyOut(t.Context(), name, "/srv/copy", &out); err != nil {
		t.Fatal(err)
	}
	back := t.TempDir()
	if err := copytree.Receive(&out, back, copytree.Options{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(back, "copy", "link"))
	if err != nil || string(b) != "content" {
		t.Errorf("what came back: %q, %v", b, err)
	}
}

func testCopyTreeInto(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	_, archive := packed(t)
	if err := f.b.Unpack(t.Context(), name, "/home/node", "node", archive); err != nil {
		t.Fatal(err)
	}
	if got := f.guest(t, name, "cat", "/home/node/tree/sub/file"); got != "content" {
		t.Errorf("content = %q", got)
	}
	var file bytes.Buffer
	if err := f.b.CopyOut(t.Context(), name, "/home/node/tree/sub/file", &file); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "file")
	if err := copytree.Receive(&file, to, copytree.Options{}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(to); err != nil || string(b) != "content" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

func testCopyTreeFails(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	var out bytes.Buffer
	for _, path := range []string{"relative", "/no/such/file"} {
		if err := f.b.CopyOut(t.Context(), name, path, &out); err == nil {
			t.Errorf("CopyOut %s = nil", path)
		}
	}
	for what, c := range map[string]struct{ dst, owner string }{
		"relative": {"relative", ""}, "below a file": {"/etc/passwd/x", ""}, "unknown owner": {"/x", "nobody-knows"},
	} {
		_, archive := packed(t)
		if err := f.b.Unpack(t.Context(), name, c.dst, c.owner, archive); err == nil {
			t.Errorf("%s: Unpack = nil", what)
		}
	}
}

func testConsole(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	path, err := f.b.Console(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "the console's file has what the machine says", func() bool {
		b, err := os.ReadFile(path)
		starts := bytes.Contains(b, []byte(backend.StartLine+"\n"))
		return err == nil && (starts || !f.h.Isolated) && bytes.Contains(b, []byte("guest: serving on"))
	})
}

// testSignals ends a command, which by itself would not end, with SIGTERM.
func testSignals(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	signals := make(chan os.Signal, 1)
	out := newWatch("serving")
	done := make(chan int, 1)
	go func() {
		code, err := f.b.Exec(t.Context(), name, backend.Exec{
			Args: []string{"/bin/guest", "serve", strconv.Itoa(freePort(t))}, User: "root", Stdout: out, Signals: signals,
		})
		if err != nil {
			t.Errorf("Exec: %v", err)
		}
		done <- code
	}()
	select {
	case <-out.seen:
	case code := <-done:
		t.Fatalf("guest serve ended with %d", code)
	}
	signals <- syscall.SIGTERM
	select {
	case code := <-done: // the guest says bye, or dies of it
		if code != 0 && code != 128+int(syscall.SIGTERM) {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(time.Minute):
		t.Fatal("the command does not end by SIGTERM")
	}
}
