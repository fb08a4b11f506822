package backendtest

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

var fileTests = []testCase{
	{"ImageContent", nil, testImageContent},
	{"CopyIn", nil, testCopyIn},
	{"CopyInOverwrites", nil, testCopyInOverwrites},
	{"CopyInFollowsNoLinkToTheHost", nil, testCopyInLink},
	{"CopyInFails", nil, testCopyInFails},
	{"CopyInModes", nil, testCopyInModes},
	{"CopyInParents", nil, testCopyInParents},
	{"CopyInThroughLink", nil, testCopyInThroughLink},
	{"CopyInAtOnce", nil, testCopyInAtOnce},
	{"CopyInIsKept", nil, testCopyInIsKept},
	{"CopyInToStoppedMachine", nil, testCopyInStopped},
	{"Volumes", func(h Harness) bool { return h.NoVolumes }, testVolumes},
	{"VolumesAreLive", func(h Harness) bool { return h.NoVolumes }, testVolumesLive},
}

func testImageContent(t *testing.T, f *fixture) {
	name := f.shared(t)
	if got := f.guest(t, name, "ls", "/dir"); got != "new" {
		t.Errorf("/dir has %q: the second layer made it opaque", got)
	}
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "test", "-e", "/gone"}}); r.Code != 1 {
		t.Errorf("/gone is there though the second layer removed it: %+v", r)
	}
	want := "-rw------- 0:0 19\ndrwxr-x--- 1000:1000"
	got := f.guest(t, name, "stat", "/dir/new", "/home/node")
	if !strings.HasPrefix(got, want) {
		t.Errorf("stat = %q, want %q…", got, want)
	}
	if got := f.guest(t, name, "stat", "/tmp"); !strings.HasPrefix(got, "dtrwxrwxrwx 0:0") {
		t.Errorf("stat /tmp = %q", got)
	}
}

func testCopyIn(t *testing.T, f *fixture) {
	name := f.shared(t)
	big := make([]byte, 3<<20)
	rand.Read(big)
	for _, tc := range []struct {
		file backend.File
		want string // of stat
	}{
		{backend.File{Path: "/plain", Content: []byte("text"), Mode: 0o644}, "-rw-r--r-- 0:0 4"},
		{backend.File{Path: "/empty", Mode: 0o600}, "-rw------- 0:0 0"},
		{backend.File{Path: "/home/node/prompt.txt", Content: []byte("You are …"), Mode: 0o600, Owner: "node"}, "-rw------- 1000:1000 11"},
		{backend.File{Path: "/a/b/c/tool", Content: []byte("x"), Mode: 0o755, Owner: "node:staff"}, "-rwxr-xr-x 1000:50 1"},
		{backend.File{Path: "/by/number", Content: []byte("x"), Mode: 0o640, Owner: "1234:5678"}, "-rw-r----- 1234:5678 1"},
		{backend.File{Path: "/with space and ä/-x", Content: []byte("x"), Mode: 0o444}, "-r--r--r-- 0:0 1"},
		{backend.File{Path: "/big", Content: big, Mode: 0o644}, "-rw-r--r-- 0:0 3145728"},
	} {
		if err := f.b.CopyIn(t.Context(), name, tc.file); err != nil {
			t.Errorf("CopyIn %s: %v", tc.file.Path, err)
			continue
		}
		if diff := cmp.Diff(tc.want, f.guest(t, name, "stat", tc.file.Path)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.file.Path, diff)
		}
		if got := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "cat", tc.file.Path}}).Stdout; got != string(tc.file.Content) {
			t.Errorf("%s: content of %d bytes is not as it was written, %d bytes", tc.file.Path, len(got), len(tc.file.Content))
		}
	}
}

func testCopyInOverwrites(t *testing.T, f *fixture) {
	name := f.shared(t)
	for _, file := range []backend.File{
		{Path: "/file", Content: []byte("longer content"), Mode: 0o600, Owner: "node"},
		{Path: "/file", Content: []byte("short"), Mode: 0o644},
	} {
		if err := f.b.CopyIn(t.Context(), name, file); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := f.guest(t, name, "cat", "/file"), "short"; got != want {
		t.Errorf("content = %q, want %q", got, want)
	}
	if got, want := f.guest(t, name, "stat", "/file"), "-rw-r--r-- 0:0 5"; got != want {
		t.Errorf("stat = %q, want %q", got, want)
	}
}

// testCopyInLink has the guest put links where a careless host would follow them.
func testCopyInLink(t *testing.T, f *fixture) {
	name := f.shared(t)
	host := t.TempDir()
	f.guest(t, name, "symlink", host, "/trap")
	f.guest(t, name, "symlink", filepath.Join(host, "file"), "/trapfile")
	for _, path := range []string{"/trap/file", "/trapfile"} {
		err := f.b.CopyIn(t.Context(), name, backend.File{Path: path, Content: []byte("x"), Mode: 0o644})
		t.Logf("CopyIn %s: %v", path, err) // an error is as good as a file in the guest
	}
	entries, err := os.ReadDir(host)
	if err != nil || len(entries) != 0 {
		t.Errorf("CopyIn wrote to the host through the guest's link: %v, %v", entries, err)
	}
}

func testCopyInFails(t *testing.T, f *fixture) {
	name := f.shared(t)
	for what, file := range map[string]backend.File{
		"relative path": {Path: "file", Mode: 0o644},
		"directory":     {Path: "/dir", Mode: 0o644},
		"below a file":  {Path: "/etc/passwd/x", Mode: 0o644},
		"unknown owner": {Path: "/x", Mode: 0o644, Owner: "nobody-knows"},
	} {
		if err := f.b.CopyIn(t.Context(), name, file); err == nil {
			t.Errorf("%s: CopyIn = nil", what)
		}
	}
	if got := f.guest(t, name, "ls", "/dir"); got != "new" {
		t.Errorf("/dir has %q afterwards", got)
	}
}

func testVolumes(t *testing.T, f *fixture) {
	rw, ro := t.TempDir(), t.TempDir()
	for dir, content := range map[string]string{rw: "writable", ro: "read-only"} {
		if err := os.WriteFile(filepath.Join(dir, "file"), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	name := f.start(t, func(s *backend.Spec) {
		s.Volumes = []backend.Volume{{Host: rw, Guest: "/work/rw"}, {Host: ro, Guest: "/work/ro", ReadOnly: true}}
	})
	if got := f.guest(t, name, "cat", "/work/rw/file", "/work/ro/file"); got != "writableread-only" {
		t.Errorf("files = %q", got)
	}
	f.guest(t, name, "write", "/work/rw/file", "by the guest")
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "write", "/work/ro/file", "by the guest"}}); r.Code == 0 {
		t.Error("the guest could write to a read-only volume")
	}
	got := map[string]string{}
	for _, dir := range []string{rw, ro} {
		b, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil {
			t.Fatal(err)
		}
		got[dir] = string(b)
	}
	if diff := cmp.Diff(map[string]string{rw: "by the guest", ro: "read-only"}, got); diff != "" {
		t.Errorf("on the host (-want +got):\n%s", diff)
	}
	if err := f.b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(rw, "file")); err != nil {
		t.Errorf("the volume's file after Delete: %v", err)
	}
}

func testCopyInModes(t *testing.T, f *fixture) {
	name := f.shared(t)
	for mode, want := range map[uint32]string{
		0o000: "----------", 0o400: "-r--------", 0o777: "-rwxrwxrwx", 0o4755: "urwxr-xr-x", 0o2755: "grwxr-xr-x",
	} {
		path := fmt.Sprintf("/modes/%o", mode)
		if err := f.b.CopyIn(t.Context(), name, backend.File{Path: path, Content: []byte("x"), Mode: mode, Owner: "node"}); err != nil {
			t.Errorf("%o: %v", mode, err)
			continue
		}
		if got := f.guest(t, name, "stat", path); got != want+" 1000:1000 1" {
			t.Errorf("%o: stat = %q, want %s", mode, got, want)
		}
	}
}

// testCopyInParents wants the directories that are made to belong to the owner
// where that may make them, as in its home: else it could not use them.
func testCopyInParents(t *testing.T, f *fixture) {
	name := f.shared(t)
	if err := f.b.CopyIn(t.Context(), name, backend.File{Path: "/home/node/.config/tool/settings", Content: []byte("x"), Mode: 0o600, Owner: "node"}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"/home/node/.config", "/home/node/.config/tool"} {
		if got := f.guest(t, name, "stat", dir); !strings.HasPrefix(got, "drwxr-xr-x 1000:1000 ") {
			t.Errorf("stat %s = %q", dir, got)
		}
	}
}

// testCopyInThroughLink writes where a link of the guest's leads, in the guest.
func testCopyInThroughLink(t *testing.T, f *fixture) {
	name := f.shared(t)
	f.guest(t, name, "mkdir", "/target")
	f.guest(t, name, "symlink", "/target", "/linked")
	if err := f.b.CopyIn(t.Context(), name, backend.File{Path: "/linked/file", Content: []byte("x"), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if got := f.guest(t, name, "cat", "/target/file"); got != "x" {
		t.Errorf("content = %q", got)
	}
}

func testCopyInAtOnce(t *testing.T, f *fixture) {
	name := f.shared(t)
	var wg sync.WaitGroup
	args := []string{"cat"}
	want := ""
	for i := range 6 {
		path := fmt.Sprintf("/at/once/%d", i)
		args, want = append(args, path), want+fmt.Sprint(i)
		wg.Go(func() {
			if err := f.b.CopyIn(t.Context(), name, backend.File{Path: path, Content: fmt.Append(nil, i), Mode: 0o644}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := f.guest(t, name, args...); got != want {
		t.Errorf("content = %q, want %q", got, want)
	}
}

func testCopyInIsKept(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	if err := f.b.CopyIn(t.Context(), name, backend.File{Path: "/srv/kept", Content: []byte("x"), Mode: 0o600, Owner: "node"}); err != nil {
		t.Fatal(err)
	}
	f.mustStop(t, name)
	f.mustStart(t, name)
	if got := f.guest(t, name, "stat", "/srv/kept"); got != "-rw------- 1000:1000 1" {
		t.Errorf("stat = %q", got)
	}
}

func testCopyInStopped(t *testing.T, f *fixture) {
	name := f.create(t, nil)
	if err := f.b.CopyIn(t.Context(), name, backend.File{Path: "/x", Mode: 0o644}); err == nil {
		t.Error("CopyIn to a machine that does not run = nil")
	}
}

// testVolumesLive has both sides see what the other does, also below a path with
// a space, and after a restart.
func testVolumesLive(t *testing.T, f *fixture) {
	dir := filepath.Join(t.TempDir(), "a dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	name := f.start(t, func(s *backend.Spec) { s.Volumes = []backend.Volume{{Host: dir, Guest: "/mnt/a dir"}} })
	for _, word := range []string{"before", "after"} {
		if err := os.WriteFile(filepath.Join(dir, "host "+word), []byte(word), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := f.guest(t, name, "cat", "/mnt/a dir/host "+word); got != word {
			t.Errorf("the guest reads %q", got)
		}
		f.guest(t, name, "write", "/mnt/a dir/guest", word)
		if b, err := os.ReadFile(filepath.Join(dir, "guest")); err != nil || string(b) != word {
			t.Errorf("the host reads %q, %v", b, err)
		}
		f.mustStop(t, name)
		f.mustStart(t, name)
	}
}
