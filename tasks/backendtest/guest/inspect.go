//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// inode prints "INODE LINKS" of each file.
func inode(args []string) error {
	for _, name := range args {
		var st syscall.Stat_t
		if err := syscall.Lstat(name, &st); err != nil {
			return err
		}
		fmt.Println(st.Ino, st.Nlink)
	}
	return nil
}

// readlink prints where links lead.
func readlink(args []string) error {
	for _, name := range args {
		to, err := os.Readlink(name)
		if err != nil {
			return err
		}
		fmt.Println(to)
	}
	return nil
}

// xattr FILE NAME prints an extended attribute, quoted.
func xattr(args []string) error {
	if err := need(args, 2); err != nil {
		return err
	}
	b := make([]byte, 4096)
	n, err := unix.Lgetxattr(args[0], args[1], b)
	if err != nil {
		return err
	}
	fmt.Printf("%q\n", b[:n])
	return nil
}

// sum prints the SHA-256 and the size of a file, or of standard input.
func sum(args []string) error {
	in := os.Stdin
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return err
		}
		in = f
	}
	h := sha256.New()
	n, err := io.Copy(h, in)
	fmt.Printf("%x %d\n", h.Sum(nil), n)
	return err
}

// die SIGNAL kills itself; 9 is SIGKILL.
func die(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	if err := syscall.Kill(os.Getpid(), syscall.Signal(n)); err != nil {
		return err
	}
	select {}
}

// flood N writes N bytes to each of standard output and standard error, at once.
func flood(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	var errs [2]error
	for i, f := range []*os.File{os.Stdout, os.Stderr} {
		wg.Go(func() {
			block := bytes.Repeat([]byte{"oe"[i]}, 64<<10)
			for left := n; left > 0 && errs[i] == nil; left -= int64(len(block)) {
				_, errs[i] = f.Write(block[:min(left, int64(len(block)))])
			}
		})
	}
	wg.Wait()
	return firstError(errs[0], errs[1])
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// detach TOOL ARG… starts a tool in a session of its own, with none of this
// one's files, and does not wait for it.
func detach(args []string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "guest"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}

// wait stays until a file is there, and prints it.
func wait(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	for range 1000 {
		if _, err := os.Stat(args[0]); err == nil {
			return cat(args)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("there is no %s", args[0])
}

// fail WORD… is warn with status 1.
func fail(args []string) error {
	if err := warn(args); err != nil {
		return err
	}
	return errStatus
}
