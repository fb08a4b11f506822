package backendtest

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

var reachTests = []testCase{
	{"Dial", nil, testDial},
	{"DialNobodyListens", nil, testDialRefused},
	{"PublishedPort", func(h Harness) bool { return h.NoPorts }, testPublishedPort},
	{"PublishedPorts", func(h Harness) bool { return h.NoPorts }, testPublishedPorts},
	{"PortTaken", func(h Harness) bool { return h.NoPorts }, testPortTaken},
	{"LogBounds", func(h Harness) bool { return !h.RunsEntrypoint }, testLogBounds},
	{"LogAfterRestart", func(h Harness) bool { return !h.RunsEntrypoint }, testLogAfterRestart},
	{"EntrypointEnvironment", func(h Harness) bool { return !h.RunsEntrypoint }, testEntrypointEnv},
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

// testPublishedPorts publishes a port of the guest twice, and another.
func testPublishedPorts(t *testing.T, f *fixture) {
	hosts := []int{freePort(t), freePort(t), freePort(t)}
	name := f.start(t, func(s *backend.Spec) {
		s.Ports = []backend.Port{{Host: hosts[0], Guest: f.port}, {Host: hosts[1], Guest: f.port}, {Host: hosts[2], Guest: 1}}
	})
	if !f.h.RunsEntrypoint {
		f.guest(t, name, "detach", "serve", strconv.Itoa(f.port))
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for _, host := range hosts[:2] {
		poll(t, "the port is served", func() bool {
			resp, err := client.Get("http://127.0.0.1:" + strconv.Itoa(host))
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			return err == nil && bytes.HasPrefix(b, []byte("hello from "))
		})
	}
	if resp, err := client.Get("http://127.0.0.1:" + strconv.Itoa(hosts[2])); err == nil {
		resp.Body.Close()
		t.Error("a port that nobody serves answered")
	}
}

// testPortTaken has two machines publish one port.
func testPortTaken(t *testing.T, f *fixture) {
	port := freePort(t)
	publish := func(s *backend.Spec) { s.Ports = []backend.Port{{Host: port, Guest: 80}} }
	first, second := f.start(t, publish), f.create(t, publish)
	err := f.b.Start(t.Context(), second)
	if err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("Start with a port that is taken = %v, want an error that names it", err)
	}
	f.mustStop(t, first)
	f.mustStart(t, second)
}

func testLogBounds(t *testing.T, f *fixture) {
	name := f.shared(t)
	for _, max := range []int64{0, 1, 10} {
		poll(t, "there is that much log", func() bool {
			b, err := f.b.Log(t.Context(), name, max)
			if err != nil {
				t.Fatal(err)
			}
			return int64(len(b)) == max
		})
	}
}

func testLogAfterRestart(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.mustStop(t, name)
	f.mustStart(t, name)
	poll(t, "the console shows the second start", func() bool {
		b, err := f.b.Log(t.Context(), name, 1<<20)
		return err == nil && bytes.Count(b[bytes.LastIndex(b, []byte("guest: bye"))+1:], []byte("guest: serving on")) == 1
	})
}

// testEntrypointEnv looks at what the image's command is started with.
func testEntrypointEnv(t *testing.T, f *fixture) {
	other := *f
	other.pack = f.packImage(t, Image(t, f.store, ImageConfig{Entrypoint: []string{"/bin/guest"}, Cmd: []string{"env", "IMAGE", "BOTH", "MACHINE"}}))
	name := other.start(t, func(s *backend.Spec) { s.Env = map[string]string{"MACHINE": "machine", "BOTH": "machine"} })
	var lines []string
	poll(t, "the console shows the environment", func() bool {
		b, err := f.b.Log(t.Context(), name, 4096)
		lines = strings.Split(string(b), "\n")
		return err == nil && slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "MACHINE") })
	})
	for _, want := range []string{"IMAGE=image", "BOTH=machine", "MACHINE=machine"} {
		if !slices.Contains(lines, want) {
			t.Errorf("there is no %s in %q", want, lines)
		}
	}
}
