package tasks

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/moby/sys/reexec"

	"bottlebuild/tasks/buildkit"
)

// The test binary is its own BuildKit: with daemonEnv set to a directory it
// serves there.
const (
	daemonEnv = "BOTTLEBUILD_TEST_BUILDKITD"
	pidFile   = "test.pid"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	if root := os.Getenv(daemonEnv); root != "" {
		os.Exit(serveForTest(root))
	}
	os.Exit(m.Run())
}

func serveForTest(root string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := os.WriteFile(filepath.Join(root, pidFile), []byte(strconv.Itoa(os.Getpid())), 0o600)
	var socket string
	if err == nil {
		socket, err = buildkit.SocketPath(root, "")
	}
	if err == nil {
		err = buildkit.Serve(ctx, buildkit.DaemonConfig{Root: root, Socket: socket, Idle: time.Minute})
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

// startBuilder starts a BuildKit of the test's own, which ends with it.
func startBuilder(t testing.TB) *buildkit.Builder {
	t.Helper()
	exe, err := os.Executable()
	must(t, err)
	root := filepath.Join(memoryDir(t), "buildkit")
	must(t, os.MkdirAll(root, 0o700))
	socket, err := buildkit.SocketPath(root, "")
	must(t, err)
	b, err := buildkit.Connect(t.Context(), buildkit.Config{Embedded: &buildkit.SpawnConfig{
		Argv: []string{exe}, Env: append(os.Environ(), daemonEnv+"="+root), Root: root, Socket: socket,
	}})
	if err != nil {
		missing(t, "no embedded BuildKit: %v", err)
	}
	t.Cleanup(func() {
		b.Close()
		endDaemon(t, root)
	})
	return b
}

// memoryDir returns a directory for what is synced often and kept by nobody: in
// memory if there is a place for it.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bottlebuild-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

func endDaemon(t testing.TB, root string) {
	b, err := os.ReadFile(filepath.Join(root, pidFile))
	must(t, err)
	pid, err := strconv.Atoi(string(b))
	must(t, err)
	syscall.Kill(pid, syscall.SIGTERM)
	for end := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the daemon does not end")
		}
	}
}
