package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/machineinit"
)

// publish starts the process that carries connections from ports of the host's
// loopback into the machine whose first process is pid; it is zero if there is
// nothing to carry. The process ends with the machine. Nothing is
// opened the other way: the machine reaches nobody by it.
func (b *Backend) publish(ctx context.Context, ports []backend.Port, pid int) (forwarder process, err error) {
	if len(ports) == 0 {
		return process{}, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return process{}, fmt.Errorf("publish ports: %w", err)
	}
	files := []*os.File{os.NewFile(uintptr(fd), "machine")}
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	args := []string{"machine-init", machineinit.Forward}
	for _, p := range ports {
		f, err := listen(ctx, p.Host)
		if err != nil {
			return process{}, err
		}
		files = append(files, f)
		args = append(args, strconv.Itoa(p.Guest))
	}
	cmd := exec.Command(b.conf.Init, args...) //nolint:noctx // it lives as long as the machine
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.ExtraFiles = files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A child is in the network namespace of the thread that starts it.
	if err := inNetwork(pid, cmd.Start); err != nil {
		return process{}, fmt.Errorf("publish ports: %w", err)
	}
	forwarder, err = thisProcess(cmd.Process.Pid)
	go cmd.Wait() // so that it is no zombie if this process lives longer
	return forwarder, err
}

// listen opens a port of the host's loopback, as a file to be handed on.
func listen(ctx context.Context, port int) (*os.File, error) {
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("publish port %d: another process of this host uses it: end that, or choose another port", port)
	}
	if err != nil {
		return nil, fmt.Errorf("publish port %d: %w", port, err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		return nil, fmt.Errorf("publish port %d: %w", port, err)
	}
	return f, nil
}

// end kills the process that the run names and waits until it is gone.
func (p process) end() error {
	if !p.alive() {
		return nil
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return ignoreESRCH(err)
	}
	defer unix.Close(fd)
	if !p.alive() { // so the descriptor may be of another process
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		return ignoreESRCH(err)
	}
	for {
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
