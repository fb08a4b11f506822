//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// hog N MIB takes memory with N processes of that much each, which would stay for a
// long time, and ends when half of them were killed. With no process it takes that
// much itself.
func hog(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if n == 0 {
		mib, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		held := bytes.Repeat([]byte{1}, mib<<20)
		time.Sleep(time.Hour)
		return os.WriteFile(os.DevNull, held, 0)
	}
	for range n {
		cmd := exec.Command("/proc/self/exe", "hog", "0", args[1])
		cmd.Args[0] = os.Args[0]
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			return err
		}
	}
	for killed := 0; killed < n/2; {
		var ws syscall.WaitStatus
		if _, err := syscall.Wait4(-1, &ws, 0, nil); err != nil && err != syscall.EINTR {
			return err
		}
		if ws.Signaled() && ws.Signal() == syscall.SIGKILL {
			killed++
		}
	}
	fmt.Println("half of them are gone")
	return nil
}
