package buildkit

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/sys/reexec"
	"github.com/tonistiigi/fsutil"
	"github.com/tonistiigi/fsutil/types"
	"go.uber.org/goleak"

	"bottlebuild/cache"
)

// The test binary is its own daemon: with daemonEnv set to its root it serves
// there, as bottlebuild does under its hidden subcommand.
const (
	daemonEnv = "BOTTLEBUILD_TEST_BUILDKITD"
	idleEnv   = "BOTTLEBUILD_TEST_IDLE"
	pidFile   = "test.pid"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if root := os.Getenv(daemonEnv); root != "" {
		os.Exit(serveForTest(root))
	}
	goleak.VerifyTestMain(m,
		// The one that keeps a daemon of this test from becoming a zombie ends
		// with the daemon.
		goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
	)
}

func serveForTest(root string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	idle, err := time.ParseDuration(os.Getenv(idleEnv))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	if err := os.WriteFile(filepath.Join(root, pidFile), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	socket, err := SocketPath(root, "")
	if err == nil {
		err = Serve(ctx, DaemonConfig{Root: root, Socket: socket, Idle: idle})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// missing skips a test that needs a part of the machine which is not there, or
// fails it where everything has to be.
func missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("BOTTLEBUILD_REQUIRE") == "1" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// spawnConfig is how to run a daemon of the test's own, which ends with it.
func spawnConfig(t testing.TB, root string, idle time.Duration) *SpawnConfig {
	t.Helper()
	if err := EmbeddedUsable(""); err != nil {
		missing(t, "no embedded BuildKit: %v", err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(root, 0o700); err != nil {
		t.Fatal(err)
	}
	socket, err := SocketPath(root, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { endDaemon(t, root, syscall.SIGTERM) })
	return &SpawnConfig{
		Argv: []string{exe}, Root: root, Socket: socket,
		Env: append(os.Environ(), daemonEnv+"="+root, idleEnv+"="+idle.String()),
	}
}

// daemonPID returns the process id of the daemon that was last started in root, 0
// if it does not run.
func daemonPID(t testing.TB, root string) int {
	b, err := os.ReadFile(filepath.Join(root, pidFile))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	if syscall.Kill(pid, 0) != nil {
		return 0
	}
	return pid
}

func endDaemon(t testing.TB, root string, sig syscall.Signal) {
	pid := daemonPID(t, root)
	if pid == 0 {
		return
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the daemon to end", func() bool { return daemonPID(t, root) == 0 })
}

// waitFor polls until cond holds. The bound only keeps a broken test from
// hanging.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}

// embedded connects to a daemon of the test's own.
func embedded(t testing.TB) *Builder {
	t.Helper()
	return connect(t, spawnConfig(t, filepath.Join(t.TempDir(), "state"), time.Hour))
}

func connect(t testing.TB, cfg *SpawnConfig) *Builder {
	t.Helper()
	b, err := Connect(t.Context(), Config{Embedded: cfg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func openStore(t testing.TB) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// writeFiles makes a directory of files by name.
func writeFiles(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// contentFS is a directory whose files' times are derived from their content, as
// builds need it.
func contentFS(t testing.TB, dir string) fsutil.FS {
	t.Helper()
	plain, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	mapped, err := fsutil.NewFilterFS(plain, &fsutil.FilterOpt{Map: func(p string, st *types.Stat) fsutil.MapResult {
		st.ModTime = 0
		if fs.FileMode(st.Mode).IsRegular() {
			b, err := os.ReadFile(filepath.Join(dir, p))
			if err != nil {
				return fsutil.MapResultExclude
			}
			sum := sha256.Sum256(b)
			st.ModTime = int64(binary.BigEndian.Uint32(sum[:]) >> 2 % 1e9)
		}
		return fsutil.MapResultKeep
	}})
	if err != nil {
		t.Fatal(err)
	}
	return mapped
}

// dirs is the main context alone.
func dirs(t testing.TB, main string) map[string]fsutil.FS {
	return map[string]fsutil.FS{MainContext: contentFS(t, main)}
}

// program builds a static binary that prints its arguments and, asked to
// "exit N", does so; "write PATH" makes a file; "nap" sleeps for a second, "sleep"
// for a minute.
func program(t testing.TB) []byte {
	t.Helper()
	programOnce.Do(func() { programBytes = compile(t) })
	return programBytes
}

var (
	programOnce  sync.Once
	programBytes []byte
)

func compile(t testing.TB) []byte {
	t.Helper()
	dir := writeFiles(t, map[string]string{"go.mod": "module thing\ngo 1.26\n", "main.go": `package main

import (
	"fmt"
	"os"
	"strconv"
	"time"
)

func main() {
	switch os.Args[1] {
	case "exit":
		n, _ := strconv.Atoi(os.Args[2])
		fmt.Println("about to fail")
		os.Exit(n)
	case "write":
		if err := os.WriteFile(os.Args[2], []byte("made in a step"), 0o644); err != nil {
			panic(err)
		}
	case "nap":
		time.Sleep(time.Second)
	case "sleep":
		time.Sleep(time.Minute)
	}
}
`})
	cmd := exec.Command("go", "build", "-o", "thing", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod -trimpath")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(dir, "thing"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// logSink keeps what a build reported.
type logSink struct {
	logs     bytes.Buffer
	warnings []string
}

func (s *logSink) Status(st *client.SolveStatus) {
	for _, l := range st.Logs {
		s.logs.Write(l.Data)
	}
	for _, w := range st.Warnings {
		s.warnings = append(s.warnings, string(w.Short))
	}
}

// sinkFunc is told the names of the steps that a build is at.
type sinkFunc func(names []string)

func (f sinkFunc) Status(st *client.SolveStatus) {
	var names []string
	for _, v := range st.Vertexes {
		if v.Started != nil {
			names = append(names, v.Name)
		}
	}
	f(names)
}

// readTar returns the content of a file in a tar stream.
func readTar(t testing.TB, r io.ReadCloser, path string) string {
	t.Helper()
	defer r.Close()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			t.Fatalf("no %s in the image", path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.Trim(h.Name, "/") == path {
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
}
