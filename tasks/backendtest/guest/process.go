//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// serve PORT answers http with "hello from NAME", the host's name, and ends with
// a word on SIGTERM.
func serve(args []string) error {
	if err := need(args, 1); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	fmt.Println("guest: serving on", args[0])
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, "hello from", host)
	})}
	go func() {
		<-ctx.Done()
		srv.Close()
	}()
	if err := srv.Serve(l); err != http.ErrServerClosed {
		return err
	}
	fmt.Println("guest: bye")
	return nil
}

// hold FILE locks the file, says so, and stays for a long time.
func hold(args []string) error {
	f, err := lock(args)
	if err != nil {
		return err
	}
	fmt.Println("holding")
	time.Sleep(time.Hour)
	return f.Close()
}

// held FILE succeeds if some process has the file locked.
func held(args []string) error {
	f, err := lock(args)
	if err == syscall.EWOULDBLOCK {
		return nil
	}
	if err == nil {
		f.Close()
		err = errStatus
	}
	return err
}

func lock(args []string) (*os.File, error) {
	if err := need(args, 1); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(args[0], os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// spawn TOOL ARG… runs a tool as a child and waits for it.
func spawn(args []string) error {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "guest"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// setpriv --reuid=UID [--regid=GID] [--groups=GID,…] COMMAND…
func setpriv(args []string) error {
	cred := &syscall.Credential{}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		name, value, _ := strings.Cut(args[0], "=")
		var err error
		var n int
		switch name {
		case "--reuid":
			n, err = lookup("/etc/passwd", value)
			cred.Uid = uint32(n)
		case "--regid":
			n, err = lookup("/etc/group", value)
			cred.Gid = uint32(n)
		case "--groups":
			for g := range strings.SplitSeq(value, ",") {
				if n, err = lookup("/etc/group", g); err != nil {
					return err
				}
				cred.Groups = append(cred.Groups, uint32(n))
			}
		}
		if err != nil {
			return err
		}
		args = args[1:]
	}
	if err := need(args, 1); err != nil {
		return err
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	err := cmd.Run()
	if cmd.ProcessState != nil {
		os.Exit(cmd.ProcessState.ExitCode())
	}
	return err
}

// nics prints the names of the network interfaces, those that are up as NAME,up.
func nics([]string) error {
	all, err := net.Interfaces()
	for _, n := range all {
		if n.Flags&net.FlagUp != 0 {
			n.Name += ",up"
		}
		fmt.Println(n.Name)
	}
	return err
}

// pids prints the number of processes that can be seen.
func pids([]string) error {
	entries, err := os.ReadDir("/proc")
	n := 0
	for _, e := range entries {
		if strings.Trim(e.Name(), "0123456789") == "" {
			n++
		}
	}
	fmt.Println(n)
	return err
}
