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
// told to stop, whether or not the image's own command ends before; the policy
// says whether that is started again.
func boot(main process, stopSignal, policy string) int {
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
	cmd := &command{process: main, policy: policy, con: con}
	cmd.start()
	for {
		select {
		case <-children:
			cmd.reap()
		case <-cmd.again:
			cmd.start()
		case <-stops:
			cmd.policy = Never
			shutdown(cmd, syscall.Signal(stop))
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
	attr := &syscall.ProcAttr{
		Env:   r.env,
		Files: []uintptr{null.Fd(), in.Fd(), in.Fd()},
		Sys: &syscall.SysProcAttr{
			Setsid:     true,
			Credential: &syscall.Credential{Uid: uint32(r.user.Uid), Gid: uint32(r.user.Gid), Groups: groups},
		},
	}
	exposed(func() { pid, err = syscall.ForkExec(r.path, p.args, attr) })
	if err != nil {
		out.Close()
		return 0, fmt.Errorf("%s: %w", p.args[0], err)
	}
	con.copyFrom(out)
	return pid, nil
}

// shutdown asks the image's command to end, by the image's stop signal, and then
// every other process. It returns when they have, or after the grace; the kernel
// kills what is left when the first process ends.
func shutdown(cmd *command, stop syscall.Signal) {
	end := time.Now().Add(stopGrace)
	wait := func(done func() bool) {
		for !done() && time.Now().Before(end) {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if cmd.pid > 0 && stop != syscall.SIGTERM {
		syscall.Kill(cmd.pid, stop)
		wait(func() bool { cmd.reap(); return cmd.pid == 0 })
	}
	syscall.Kill(-1, syscall.SIGTERM)
	syscall.Kill(-1, syscall.SIGCONT) // for those that are suspended
	wait(func() bool {
		cmd.reap()
		return syscall.Kill(-1, 0) == syscall.ESRCH
	})
	cmd.con.drain()
}
