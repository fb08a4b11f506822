package backendtest

import (
	"bytes"
	"crypto/rand"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	{"Volumes", func(h Harness) bool { return h.NoVolumes }, testVolumes},
}

func testImageContent(t *testing.T, f *fixture) {
	name := f.start(t, nil)
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
	name := f.start(t, nil)
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
	name := f.start(t, nil)
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
	name := f.start(t, nil)
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
	name := f.start(t, nil)
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

var reachTests = []testCase{
	{"Dial", nil, testDial},
	{"DialNobodyListens", nil, testDialRefused},
	{"PublishedPort", func(h Harness) bool { return h.NoPorts }, testPublishedPort},
	{"Log", func(h Harness) bool { return !h.RunsEntrypoint }, testLog},
	{"LogOfMachineNeverStarted", nil, testLogNever},
	{"EntrypointEnds", func(h Harness) bool { return !h.RunsEntrypoint }, testEntrypointEnds},
	{"Isolation", func(h Harness) bool { return !h.Isolated }, testIsolation},
}

// serving starts a machine in which something serves port, published on the host
// under the same number if Dial needs that or the caller does.
func (f *fixture) serving(t *testing.T, publish bool) (name string, port int) {
	t.Helper()
	port = freePort(t)
	name = f.start(t, func(s *backend.Spec) {
		if f.h.DialNeedsPort || publish {
			s.Ports = []backend.Port{{Host: port, Guest: port}}
		}
	})
	out := newWatch("serving")
	done := make(chan error, 1)
	go func() {
		_, err := f.b.Exec(t.Context(), name, backend.Exec{Args: []string{"/bin/guest", "serve", strconv.Itoa(port)}, Stdout: out})
		done <- err
	}()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatalf("guest serve ended: %v", err)
	}
	return name, port
}

func testDial(t *testing.T, f *fixture) {
	name, port := f.serving(t, false)
	for range 3 {
		conn, err := f.b.Dial(t.Context(), name, port)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(conn)
		conn.Close()
		if err != nil || !bytes.Contains(b, []byte(" 200 OK")) || !bytes.Contains(b, []byte("hello from ")) {
			t.Errorf("answer %q, %v", b, err)
		}
		if f.h.Isolated && !bytes.Contains(b, []byte("hello from "+name)) {
			t.Errorf("answer %q is not of %s", b, name)
		}
	}
	if f.h.Isolated {
		if resp, err := http.Get("http://127.0.0.1:" + strconv.Itoa(port)); err == nil {
			resp.Body.Close()
			t.Error("the guest's port can be reached on the host though nobody published it")
		}
	}
}

// testPublishedPort asks the host's loopback, and wants the port free again when
// the machine has stopped.
func testPublishedPort(t *testing.T, f *fixture) {
	name, port := f.serving(t, true)
	host := "127.0.0.1:" + strconv.Itoa(port)
	if diff := cmp.Diff([]backend.Port{{Host: port, Guest: port}}, f.wantState(t, name, backend.Running).Ports); diff != "" {
		t.Errorf("Status's ports (-want +got):\n%s", diff)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for range 2 {
		resp, err := client.Get("http://" + host)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.HasPrefix(b, []byte("hello from ")) {
			t.Errorf("answer %q, %v", b, err)
		}
	}
	f.mustStop(t, name)
	l, err := net.Listen("tcp", host)
	if err != nil {
		t.Fatalf("the port of a stopped machine is not free: %v", err)
	}
	l.Close()
}

func testDialRefused(t *testing.T, f *fixture) {
	port := freePort(t)
	name := f.start(t, func(s *backend.Spec) {
		if f.h.DialNeedsPort {
			s.Ports = []backend.Port{{Host: port, Guest: port}}
		}
	})
	conn, err := f.b.Dial(t.Context(), name, port)
	if err == nil && f.h.DialNeedsPort {
		// A forwarder may take the connection before it knows; then it closes it.
		defer conn.Close()
		if n, err := conn.Read(make([]byte, 1)); err == nil {
			t.Errorf("read %d bytes from a port that nobody serves", n)
		}
		return
	}
	if err == nil {
		conn.Close()
		t.Error("Dial to a port that nobody serves = nil")
	}
}

func testLog(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	log := func(max int64) string {
		b, err := f.b.Log(t.Context(), name, max)
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) > max {
			t.Errorf("Log returned %d bytes, over %d", len(b), max)
		}
		return string(b)
	}
	poll(t, "the console shows the entrypoint's output", func() bool { return strings.Contains(log(1<<20), "guest: serving on") })
	f.mustStop(t, name)
	all := log(1 << 20)
	if !strings.Contains(all, "guest: bye") {
		t.Errorf("SIGTERM did not reach the entrypoint; console:\n%s", all)
	}
	if got, want := log(7), all[len(all)-7:]; got != want {
		t.Errorf("the last 7 bytes are %q, want %q", got, want)
	}
}

func testLogNever(t *testing.T, f *fixture) {
	if b, err := f.b.Log(t.Context(), f.create(t, nil), 100); err != nil || len(b) != 0 {
		t.Errorf("Log = %q, %v; want nothing", b, err)
	}
}

func testEntrypointEnds(t *testing.T, f *fixture) {
	other := *f
	other.pack = f.packImage(t, Image(t, f.store, ImageConfig{Entrypoint: []string{"/bin/guest"}, Cmd: []string{"exit", "3"}}))
	name := other.start(t, nil)
	poll(t, "the console tells of the end", func() bool {
		b, err := f.b.Log(t.Context(), name, 4096)
		return err == nil && strings.Contains(string(b), "3")
	})
	f.wantState(t, name, backend.Running)
	if got := f.guest(t, name, "echo", "alive"); got != "alive" {
		t.Errorf("echo = %q", got)
	}
}

func testIsolation(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	if got := f.guest(t, name, "hostname"); got != name {
		t.Errorf("hostname = %q, want %q", got, name)
	}
	if got := f.guest(t, name, "pids"); atoi(got) > 10 {
		t.Errorf("the guest sees %s processes", got)
	}
	if got := f.guest(t, name, "nics"); got != "lo,up" {
		t.Errorf("network interfaces: %q, want only lo, up", got)
	}
}
