//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runAgent is process 1 of a machine: it mounts, starts the image's entrypoint,
// and serves requests until SIGTERM.
func runAgent() {
	ready := os.NewFile(fdReady, "ready")
	if err := agent(os.Args[2], ready); err != nil {
		fmt.Fprintf(ready, "%v", err)
		fmt.Fprintln(os.Stderr, "agent:", err)
		os.Exit(1)
	}
}

func agent(dir string, ready *os.File) error {
	syscall.CloseOnExec(fdReady)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, syscall.SIGTERM)
	b, err := os.ReadFile(filepath.Join(dir, "vm.json"))
	if err != nil {
		return err
	}
	m := &machine{}
	if err := json.Unmarshal(b, m); err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(m.Name)); err != nil {
		return err
	}
	if err := loopbackUp(); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	// Listeners before the change of root: net reads files of the host lazily.
	l, err := net.FileListener(os.NewFile(fdSocket, "agent"))
	if err != nil {
		return err
	}
	syscall.CloseOnExec(fdSocket)
	for i, p := range m.Ports {
		pl, err := net.FileListener(os.NewFile(uintptr(fdPorts+i), "port"))
		if err != nil {
			return err
		}
		syscall.CloseOnExec(fdPorts + i)
		go forward(pl, p[1])
	}
	if err := enter(filepath.Join(dir, "rootfs"), m.Volumes); err != nil {
		return err
	}
	workload, ended := startWorkload(m)
	go serveAgent(l.(*net.UnixListener), m)
	if _, err := io.WriteString(ready, "ready"); err != nil {
		return err
	}
	ready.Close()
	<-terminate
	if workload != nil {
		workload.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(stopPatience / 2):
		}
	}
	os.Exit(0) // and the kernel ends all others
	return nil
}

// startWorkload starts the entrypoint. The machine stays when it ends.
func startWorkload(m *machine) (*exec.Cmd, <-chan struct{}) {
	args := append(append([]string{}, m.Entrypoint...), m.Cmd...)
	if len(args) == 0 {
		return nil, nil
	}
	cmd, err := prepare(request{Args: args, Env: append(append([]string{}, m.ImageEnv...), m.Env...), Workdir: m.Workdir})
	if err == nil {
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		err = startIn(cmd)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent: workload:", err)
		return nil, nil
	}
	ended := make(chan struct{})
	go func() {
		cmd.Wait()
		fmt.Fprintln(os.Stderr, "agent: workload exited with code", exitCode(cmd.ProcessState))
		close(ended)
	}()
	return cmd, ended
}

// forward carries connections from a port of the host to one of the guest.
func forward(l net.Listener, port int) {
	for {
		outer, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer outer.Close()
			inner, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				return
			}
			defer inner.Close()
			go func() {
				io.Copy(inner, outer)
				inner.(*net.TCPConn).CloseWrite()
			}()
			io.Copy(outer, inner)
		}()
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, ifr); err != nil {
		return err
	}
	ifr.SetUint16(ifr.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}

// enter makes rootfs the root of this mount namespace, with fresh file systems
// where a machine has them: what was in /tmp and /run is gone after a restart.
func enter(rootfs string, volumes []volume) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount(rootfs, rootfs, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	const old = ".host"
	if err := os.MkdirAll(filepath.Join(rootfs, old), 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(rootfs, filepath.Join(rootfs, old)); err != nil {
		return fmt.Errorf("pivot root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	mounts := []struct{ kind, at, options string }{
		{"proc", "/proc", ""}, {"tmpfs", "/dev", "mode=0755"}, {"devpts", "/dev/pts", "newinstance,ptmxmode=0666"},
		{"tmpfs", "/dev/shm", "mode=1777"}, {"tmpfs", "/run", "mode=0755"}, {"tmpfs", "/tmp", "mode=1777"},
	}
	for _, x := range mounts {
		if err := plainDirs(x.at); err != nil {
			return err
		}
		if err := unix.Mount(x.kind, x.at, x.kind, 0, x.options); err != nil {
			return fmt.Errorf("mount %s: %w", x.at, err)
		}
	}
	if err := devices("/" + old); err != nil {
		return err
	}
	for _, v := range volumes {
		if err := plainDirs(v.Guest); err != nil {
			return err
		}
		if err := bind("/"+old+v.Host, v.Guest, v.ReadOnly); err != nil {
			return fmt.Errorf("volume %s: %w", v.Guest, err)
		}
	}
	if err := unix.Unmount("/"+old, unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove("/" + old)
}

func devices(host string) error {
	for _, n := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		f, err := os.Create("/dev/" + n)
		if err != nil {
			return err
		}
		f.Close()
		if err := unix.Mount(host+"/dev/"+n, "/dev/"+n, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"} {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return err
		}
	}
	return nil
}

func bind(from, to string, readOnly bool) error {
	if err := unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, ""); err != nil || !readOnly {
		return err
	}
	return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// plainDirs makes the directories of a path and refuses links among them, which
// could lead to the host while that is still mounted.
func plainDirs(path string) error {
	at := "/"
	for _, base := range splitPath(path) {
		at = filepath.Join(at, base)
		fi, err := os.Lstat(at)
		if errors.Is(err, os.ErrNotExist) {
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory", at)
		}
	}
	return nil
}
