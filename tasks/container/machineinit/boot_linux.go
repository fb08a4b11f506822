package machineinit

import (
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// stopGrace is how long processes have to end by themselves. The host waits
// a little longer before it kills the machine.
const stopGrace = 8 * time.Second

// boot is a machine's first process. Like a computer's, it stays until it is
// told to stop, whether or not the image's own command ends before.
func boot(main process, stopSignal string) int {
	stop, err := strconv.Atoi(stopSignal)
	if err != nil {
		return complain("read the stop signal", err)
	}
	stops := make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM, syscall.SIGINT)
	children := make(chan os.Signal, 1) // one that waits stands for any number
	signal.Notify(children, syscall.SIGCHLD)
	// The console's reader may be gone; that is no reason to end.
	signal.Ignore(syscall.SIGHUP, syscall.SIGPIPE)

	con, err := newConsole(os.Stdout)
	if err != nil {
		return complain("open the console", err)
	}
	con.sayf("the machine starts") // backend.StartLine
	pid := 0
	if len(main.args) > 0 {
		if pid, err = start(main, con); err != nil {
			con.sayf("cannot start the image's command: %v", err)
		}
	}
	for {
		select {
		case <-children:
			if reap(pid, con) {
				pid = 0
			}
		case <-stops:
			shutdown(pid, syscall.Signal(stop), con)
			return 0
		}
	}
}

// start runs the image's command with its output on the console. The directory
// is made if it is not there, as docker does.
func start(p process, con *console) (pid int, err error) {
	if p.dir != "" {
		if err := os.MkdirAll(p.dir, 0o755); err != nil {
			return 0, err
		}
	}
	r, err := p.resolve()
	defer os.Chdir("/")
	if err != nil {
		return 0, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	// The pipe, and not the console, is what the guest can get hold of.
	if err := in.Chown(r.user.Uid, r.user.Gid); err != nil {
		out.Close()
		return 0, err
	}
	groups := make([]uint32, len(r.user.Sgids))
	for i, g := range r.user.Sgids {
		groups[i] = uint32(g)
	}
	pid, err = syscall.ForkExec(r.path, p.args, &syscall.ProcAttr{
		Env:   r.env,
		Files: []uintptr{null.Fd(), in.Fd(), in.Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: &syscall.Credential{Uid: uint32(r.user.Uid), Gid: uint32(r.user.Gid), Groups: groups},
		},
	})
	if err != nil {
		out.Close()
		return 0, fmt.Errorf("%s: %w", p.args[0], err)
	}
	con.copyFrom(out)
	return pid, nil
}

// reap waits for every child that has ended, orphans included, and reports
// whether the image's command was one of them.
func reap(main int, con *console) (ended bool) {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid <= 0:
			return ended
		case pid != main:
			continue
		case ws.Signaled():
			con.sayf("the image's command was ended by signal %d (%s); the machine stays up", ws.Signal(), ws.Signal())
		default:
			con.sayf("the image's command ended with exit code %d; the machine stays up", ws.ExitStatus())
		}
		ended = true
	}
}

// shutdown asks the image's command to end, by the image's stop signal, and then
// every other process. It returns when they have, or after the grace; the kernel
// kills what is left when the first process ends.
func shutdown(main int, stop syscall.Signal, con *console) {
	end := time.Now().Add(stopGrace)
	wait := func(done func() bool) {
		for !done() && time.Now().Before(end) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if main > 0 && stop != syscall.SIGTERM {
		syscall.Kill(main, stop)
		wait(func() bool { return reap(main, con) })
	}
	syscall.Kill(-1, syscall.SIGTERM)
	syscall.Kill(-1, syscall.SIGCONT) // for those that are suspended
	wait(func() bool {
		reap(main, con)
		return syscall.Kill(-1, 0) == syscall.ESRCH
	})
	con.drain()
}
