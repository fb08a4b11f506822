package cache_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/cache/cachetest"
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
	return cachetest.Command(t, helperVariable, name, dir, seed)
}

// scale returns the first number, and under make stress the second.
func scale(usual, stress int) int {
	if os.Getenv("BOTTLEBUILD_STRESS") != "" {
		return stress
	}
	return usual
}

// openShm is open in memory.
func openShm(t *testing.T) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(cachetest.MemoryDir(t), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
