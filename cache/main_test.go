package cache_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bottlebuild/cache"
)

// helperVariable makes the test binary a process of one of the tests instead.
const helperVariable = "BOTTLEBUILD_CACHE_TEST_HELPER"

func TestMain(m *testing.M) {
	helpers := map[string]func(dir, seed string) error{
		"crowd": crowdHelper, "victim": victimHelper, "files": filesHelper,
	}
	if name := os.Getenv(helperVariable); name != "" {
		if err := helpers[name](os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper returns a process of this binary that does what the helper of that
// name does on the store in dir.
func helper(t *testing.T, name, dir, seed string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, dir, seed)
	cmd.Env = append(os.Environ(), helperVariable+"="+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// scale returns the first number, and under make stress the second.
func scale(usual, stress int) int {
	if os.Getenv("BOTTLEBUILD_STRESS") != "" {
		return stress
	}
	return usual
}

// openShm is open in memory where there is such a place: kill -9 loses nothing
// that was written, synced or not, and fsync takes all the time of such tests.
func openShm(t *testing.T) *cache.Store {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bottlebuild-test-")
	if err != nil {
		return open(t)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := cache.Open(filepath.Join(dir, "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
