package container

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// inNetwork calls f with the calling thread in the network namespace of the
// process; f must not hand work to other goroutines. A thread that cannot come
// back is not used again: it ends with its goroutine.
func inNetwork(pid int, f func() error) error {
	target, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("open network namespace of process %d: %w", pid, err)
	}
	defer target.Close()
	return inNamespace(target, f)
}

func inNamespace(target netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			runtime.UnlockOSThread()
			done <- err
			return
		}
		defer home.Close()
		err = netns.Set(target)
		if err == nil {
			err = f()
		}
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// loopbackUp brings up lo in the network namespace it is called in.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() | unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}

// Dial implements [backend.Backend]: the connection's socket is made in the
// machine's own network, so that nothing need be published. A port that nobody
// serves on IPv4's loopback is tried on IPv6's.
func (b *Backend) Dial(ctx context.Context, name string, port int) (net.Conn, error) {
	r, err := b.running(name)
	if err != nil {
		return nil, fmt.Errorf("dial: %w", err)
	}
	target, err := netns.GetFromPid(r.PID)
	if err == nil && !r.alive() { // so the namespace may be of another process
		target.Close()
		err = errors.New("it has just stopped")
	}
	if err != nil {
		return nil, fmt.Errorf("dial port %d of machine %s: %w", port, name, err)
	}
	defer target.Close()
	var conn net.Conn
	err = inNamespace(target, func() error {
		var d net.Dialer
		var first error
		for _, host := range []string{"127.0.0.1", "::1"} { // numbers: no resolver, no goroutine
			c, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
			if err == nil {
				conn = c
				return nil
			}
			if first == nil {
				first = err
			}
			if !errors.Is(err, unix.ECONNREFUSED) {
				break
			}
		}
		return first
	})
	if err != nil {
		return nil, fmt.Errorf("dial port %d of machine %s: %w", port, name, err)
	}
	return conn, nil
}

// running returns the run of a machine that runs.
func (b *Backend) running(name string) (*run, error) {
	if _, err := b.load(name); err != nil {
		return nil, err
	}
	r, err := b.loadRun(name)
	if err != nil {
		return nil, err
	}
	if !r.alive() {
		return nil, fmt.Errorf("machine %s does not run; start it first", name)
	}
	return r, nil
}

func readPID(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("%s holds %.40q, no process number", path, b)
	}
	return pid, nil
}
