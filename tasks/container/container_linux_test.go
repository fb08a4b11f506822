package container

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/moby/sys/mountinfo"
	"go.uber.org/goleak"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/container/machineinit"
)

// TestMain lets the test binary be what bottlebuild is in use: the first process
// of machines.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == initCommand {
		os.Exit(machineinit.Main(os.Args[2:]))
	}
	if len(os.Args) == 6 && os.Args[1] == createAndStartCommand {
		createAndStart(os.Args[2], os.Args[3], os.Args[4], os.Args[5])
		return
	}
	if os.Getenv(selfTestVariable) != "" {
		os.Exit(m.Run()) // the other process looks for leaks; here, look-ups in vain take longer than the test
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if initDir != "" {
			os.RemoveAll(initDir)
		}
		os.Exit(code)
	}))
}

// initBinary returns a static executable that can be a machine's first process:
// the test binary, or where that is not static, as with -race, one like it.
func initBinary(t *testing.T) string {
	t.Helper()
	path, err := buildInit()
	if err != nil {
		t.Fatalf("build a static init binary: %v", err)
	}
	return path
}

// initDir is where buildInit builds, removed at the end.
var initDir string

var buildInit = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil || New(Config{Init: self}).checkInit() == nil {
		return self, err
	}
	if initDir, err = os.MkdirTemp("", "init"); err != nil {
		return "", err
	}
	path := filepath.Join(initDir, "init.test")
	cmd := exec.Command("go", "test", "-c", "-o", path, "bottlebuild/tasks/container")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return path, nil
})

// needRuntime skips the test where the runtime cannot make machines.
func needRuntime(t *testing.T, runtime string) (init string) {
	t.Helper()
	b := New(Config{Store: newStore(t), StateDir: t.TempDir(), Runtime: runtime, Init: initBinary(t)})
	if _, err := b.Preflight(t.Context()); err != nil {
		backendtest.Missing(t, "%v", err)
	}
	return b.conf.Init
}

func newStore(t *testing.T) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestConformance(t *testing.T) {
	for _, runtime := range []string{"runc", "crun"} {
		t.Run(runtime, func(t *testing.T) {
			if runtime != "runc" {
				b := New(Config{Store: newStore(t), StateDir: t.TempDir(), Runtime: runtime, Init: initBinary(t)})
				if _, err := b.preflight(t.Context()); err != nil {
					t.Skip(err) // one runtime is enough
				}
			}
			init := needRuntime(t, runtime)
			var states []string
			backendtest.Run(t, backendtest.Harness{
				New: func(t *testing.T, s *cache.Store, state string) backend.Backend {
					states = append(states, state)
					return New(Config{Store: s, StateDir: state, Runtime: runtime, Init: init})
				},
				DeterministicPack: true, RunsEntrypoint: true, Isolated: true, TTY: true,
			})
			for _, state := range states {
				wantNothingLeft(t, state)
			}
		})
	}
}

// wantNothingLeft looks for what machines of the state directory have left
// behind: mounts, cgroups, processes, the runtime's state, files.
func wantNothingLeft(t *testing.T, state string) {
	t.Helper()
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(state))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mounts {
		t.Errorf("left mounted: %s", m.Mountpoint)
	}
	b := New(Config{StateDir: state})
	_, suffix, _ := strings.Cut(b.id("x"), ".")
	for _, dir := range cgroupDirs("*." + suffix) {
		t.Errorf("left cgroup: %s", dir)
	}
	for _, pattern := range []string{"machines/*", "locks/*", "runtime/*/*"} {
		left, err := filepath.Glob(filepath.Join(state, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range left {
			t.Errorf("left: %s", path)
		}
	}
	lists, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if b, err := os.ReadFile(list); err == nil && strings.Contains(string(b), state) {
			t.Errorf("left process: %s: %q", filepath.Dir(list), b)
		}
	}
}
