// Package cachetest is what tests of the store and of the shared cache do to both:
// processes that are killed, disks that are full, files that are too many.
package cachetest

import (
	"bufio"
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"
)

// Command returns a process of the test's own binary, which sees from the
// environment variable what it is to do.
func Command(t *testing.T, variable, value string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), variable+"="+value)
	cmd.Stderr = os.Stderr
	return cmd
}

// Kill starts a process, kills it at some moment within a time from its first line
// of output on, and gives each of the other lines to line. It tells whether the
// process was killed before its end; one that fails by itself fails the test.
func Kill(t *testing.T, cmd *exec.Cmd, within time.Duration, line func(string)) (killed bool) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan() // it has begun
	timer := time.AfterFunc(rand.N(within), func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	for lines.Scan() {
		line(lines.Text())
	}
	var exit *exec.ExitError
	if err = cmd.Wait(); errors.As(err, &exit) && exit.ExitCode() > 0 {
		t.Fatalf("%q failed by itself: %v: %s", cmd.Args[1:], err, stderr.String())
	}
	return err != nil
}

// MemoryDir returns a directory in memory where there is such a place: kill -9 loses
// nothing that was written, synced or not, and fsync takes all the time of such tests.
func MemoryDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bottlebuild-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
