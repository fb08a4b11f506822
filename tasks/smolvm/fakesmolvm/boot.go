//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// agentArg marks the process that becomes process 1 of a machine. The name of
// the machine follows.
const agentArg = "__agent"

const (
	consoleFile = "agent-console.log"
	socketFile  = "agent.sock"
)

// The files that the agent inherits, then one listener per port.
const (
	fdReady = 3 + iota
	fdSocket
	fdPorts
)

// boot starts the agent in namespaces of its own and waits until it answers.
func (m *machine) boot() error {
	dir := machineDir(m.Name)
	console, err := os.OpenFile(filepath.Join(dir, consoleFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer console.Close()
	ready, done, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer done.Close()
	socket, err := listenAgent(dir)
	if err != nil {
		return err
	}
	defer socket.Close()
	// Sockets stay in the network they were made in: the host's.
	files := []*os.File{done, socket}
	for _, p := range m.Ports {
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", p[0]))
		if err != nil {
			return err
		}
		defer l.Close()
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		defer f.Close()
		files = append(files, f)
	}
	flags := uintptr(syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC)
	if open := m.Network && len(m.AllowCIDRs)+len(m.AllowHosts)+len(m.Ports) == 0; !open && !fault("start:leak") {
		flags |= syscall.CLONE_NEWNET
	}
	cmd := exec.Command("/proc/self/exe", agentArg, dir)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = console, console, files
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	done.Close()
	word, err := io.ReadAll(ready)
	if err != nil || string(word) != "ready" {
		cmd.Process.Kill()
		return errors.Join(fmt.Errorf("agent did not come up: %s", word), err, cmd.Wait())
	}
	m.PID = cmd.Process.Pid
	m.StartTime, _ = startTime(m.PID)
	return cmd.Process.Release()
}

func (m *machine) portsFree() error {
	others, err := all()
	if err != nil {
		return err
	}
	for _, o := range others {
		for _, theirs := range o.Ports {
			for _, mine := range m.Ports {
				if o.Name != m.Name && theirs[0] == mine[0] && o.alive() {
					return fmt.Errorf("config operation failed: start: host port %d is already in use by running machine '%s'", mine[0], o.Name)
				}
			}
		}
	}
	return nil
}

// inDir calls f with a path for name in dir that is short enough for the address
// of a socket.
func inDir(dir, name string, f func(path string) error) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), name))
}

func listenAgent(dir string) (f *os.File, err error) {
	if err := os.RemoveAll(filepath.Join(dir, socketFile)); err != nil {
		return nil, err
	}
	err = inDir(dir, socketFile, func(path string) error {
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			return err
		}
		defer l.Close()
		l.SetUnlinkOnClose(false)
		f, err = l.File()
		return err
	})
	return f, err
}

func dialAgent(name string) (conn *net.UnixConn, err error) {
	err = inDir(machineDir(name), socketFile, func(path string) error {
		conn, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
		return err
	})
	return conn, err
}
