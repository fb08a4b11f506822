package smolvm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
)

// fake is the path of the fake smolvm, built once; fakeMissing says why there is none.
var fake, fakeMissing string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fakesmolvm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fake = filepath.Join(dir, "smolvm")
	switch {
	case runtime.GOOS != "linux":
		fakeMissing = "the fake smolvm works on Linux only"
	case os.Geteuid() != 0:
		fakeMissing = "the fake smolvm needs root: it makes namespaces and unpacks files of other users"
	default:
		for program, pkg := range map[string]string{fake: "./fakesmolvm", fake + "-pull": "./fakesmolvm/pull"} {
			if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, pkg).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "build the fake smolvm: %v\n%s", err, out)
				os.Exit(1)
			}
		}
	}
	code := m.Run()
	if err := goleak.Find(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.RemoveAll(dir)
	os.Exit(code)
}

// rig is a backend over the fake, and what a test turns.
type rig struct {
	*Backend
	store *cache.Store
	state string // the backend's
	data  string // the fake's
	log   string // of the fake's calls
}

type settings struct {
	version string   // of the fake; empty: the newest known
	fault   string   // see fakesmolvm/fault.go
	env     []string // further variables
	store   *cache.Store
	state   string
}

func newRig(t *testing.T, s settings) *rig {
	t.Helper()
	if fakeMissing != "" {
		backendtest.Missing(t, "%s", fakeMissing)
	}
	r := &rig{store: s.store, state: s.state}
	if r.store == nil {
		var err error
		if r.store, err = cache.Open(filepath.Join(t.TempDir(), "cache")); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.store.Close() })
	}
	if r.state == "" {
		r.state = t.TempDir()
	}
	r.data = filepath.Join(r.state, "data")
	r.log = filepath.Join(t.TempDir(), "calls")
	if s.version == "" {
		s.version = newest
	}
	r.Backend = New(Config{
		Store: r.store, StateDir: filepath.Join(r.state, "bottlebuild"), Binary: fake, KVM: device(t),
		Env: slices.Concat([]string{
			"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + r.state, "SMOLVM_DATA_DIR=" + r.data,
			"FAKE_SMOLVM_VERSION=" + s.version, "FAKE_SMOLVM_FAULT=" + s.fault, "FAKE_SMOLVM_LOG=" + r.log,
		}, s.env),
	})
	return r
}

// newest is the newest version of which something is known.
const newest = "1.32.0"

// device makes a file that can be opened as /dev/kvm can.
func device(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kvm")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// versions are those at which smolvm, or what the driver does with it, changed:
// the oldest; files with an owner; the loopback that is closed to packs; users;
// layers that are stacked; the newest.
var versions = []string{"1.8.1", "1.9.3", "1.13.0", "1.14.0", "1.17.0", newest}

func TestConformance(t *testing.T) {
	stress := os.Getenv("BOTTLEBUILD_STRESS") != ""
	for _, v := range versions {
		if v == "1.14.0" && !stress {
			continue // all that it has, one of its neighbours has too
		}
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			if fakeMissing != "" {
				backendtest.Missing(t, "%s", fakeMissing)
			}
			backendtest.Run(t, backendtest.Harness{
				New: func(t *testing.T, store *cache.Store, state string) backend.Backend {
					return newRig(t, settings{version: v, store: store, state: state}).Backend
				},
				Brief:          v != newest && !stress,
				RunsEntrypoint: true,
				DialNeedsPort:  true,
				TTY:            true,
			})
		})
	}
}
