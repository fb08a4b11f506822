package main

import (
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// killChildren kills the process groups of the child processes. The embedded
// BuildKit is in a session of its own and not among them.
func killChildren() {
	self, err := syscall.Getpgid(0)
	if err != nil {
		return
	}
	for _, pid := range children() {
		if sid, err := unix.Getsid(pid); err != nil || sid == pid {
			continue
		}
		if group, err := syscall.Getpgid(pid); err == nil && group != self {
			syscall.Kill(-group, syscall.SIGKILL)
		}
	}
}

// children lists the child processes that /proc tells of, of every thread.
func children() (pids []int) {
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, t := range tasks {
		b, _ := os.ReadFile("/proc/self/task/" + t.Name() + "/children")
		for _, f := range strings.Fields(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
