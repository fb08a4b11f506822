package main

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// interrupttwice FIRST SECOND COMMAND… runs a command, sends it SIGINT when the
// file FIRST is there, and again when SECOND is, and checks that it leaves with 130.
func cmdInterruptTwice(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: interrupttwice FIRST SECOND COMMAND...")
	}
	cmd := exec.Command(filepath.Join(tools, args[2]), args[3:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, v := range []string{"PATH", "HOME", "BOTTLEBUILD_CACHE", "BOTTLEBUILD_STATE", "WORK"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	ts.Check(cmd.Start())
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	over := func() bool {
		select {
		case <-ended:
			return true
		case <-time.After(20 * time.Millisecond):
			return false
		}
	}
	for _, file := range args[:2] {
		for {
			if _, err := os.Stat(ts.MkAbs(file)); err == nil {
				break
			} else if !errors.Is(err, fs.ErrNotExist) {
				ts.Check(err)
			}
			if over() {
				ts.Fatalf("it ended before there was a file %s, and printed:\n%s", file, &stderr)
			}
		}
		ts.Check(cmd.Process.Signal(os.Interrupt))
	}
	// One that comes too soon after the first does not count.
	for !over() {
		cmd.Process.Signal(os.Interrupt) // it may just have ended
	}
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		ts.Fatalf("exit code %d, it printed:\n%s", code, &stderr)
	}
	if !strings.Contains(stderr.String(), "interrupted twice, leaving at once") {
		ts.Fatalf("it does not say that it leaves at once:\n%s", &stderr)
	}
}

// dead FILE N checks that none of the N processes lives whose numbers are in the
// file, once what kills them has been done.
func cmdDead(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: dead FILE N")
	}
	pids := strings.Fields(ts.ReadFile(args[0]))
	if strconv.Itoa(len(pids)) != args[1] {
		ts.Fatalf("%s names %d processes", args[0], len(pids))
	}
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		ts.Check(err)
		for deadline := time.Now().Add(10 * time.Second); alive(n); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				syscall.Kill(n, syscall.SIGKILL)
				ts.Fatalf("process %d lives", n)
			}
		}
	}
}

// alive reports whether a process is there and is no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(after, "Z") && !strings.HasPrefix(after, "X")
}

// web VAR DIR serves a directory at the URL that it puts into VAR.
func cmdWeb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: web VAR DIR")
	}
	server := httptest.NewServer(http.FileServer(http.Dir(ts.MkAbs(args[1]))))
	ts.Defer(server.Close)
	ts.Setenv(args[0], server.URL)
}
