package buildkit

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/defaults"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/sys/mountinfo"
	"github.com/moby/sys/userns"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// Serve runs the embedded BuildKit daemon until it has been idle for cfg.Idle,
// which is no error, or ctx ends, or its root or its socket is gone or another's
// and nothing is in flight. It must run in a process of its own, so that
// a killed client leaves no container behind; that process's main calls
// reexec.Init of github.com/moby/sys/reexec before anything else.
func Serve(ctx context.Context, cfg DaemonConfig) error {
	if err := EmbeddedUsable(cfg.Runtime); err != nil {
		return fmt.Errorf("serve: %w: %w", ErrUnavailable, err)
	}
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	lock, err := lockState(ctx, cfg.Root)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer lock.unlock()
	if err := unmountBelow(cfg.Root); err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	listener, err := listenPrivate(cfg.Socket)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer os.Remove(filepath.Dir(cfg.Socket)) // stays if anything is in it
	defer listener.Close()

	d, err := newDaemon(ctx, cfg)
	if err != nil {
		return fmt.Errorf("serve: %w", err)
	}
	defer d.Close()
	gate := newIdleGate(cfg.Idle, func() bool { return !lock.inPlace() || !listener.inPlace() })
	defer gate.stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(gate.unary, grpcerrors.UnaryServerInterceptor),
		grpc.ChainStreamInterceptor(gate.stream, grpcerrors.StreamServerInterceptor),
		grpc.MaxRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
		grpc.MaxSendMsgSize(defaults.DefaultMaxSendMsgSize),
	)
	d.Register(server)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()

	for {
		select {
		case <-look.C:
			gate.look()
			continue
		case err := <-served:
			return fmt.Errorf("serve: %w", err)
		case <-gate.expired:
			// Nothing is in flight and nothing is let in any more.
			server.Stop()
		case <-ctx.Done():
			stopWithin(server, stopWait)
		}
		<-served
		return nil
	}
}

// unmountBelow takes away what a daemon that was killed has left mounted in its
// state, which is nobody else's while the lock is held.
func unmountBelow(root string) error {
	real, err := filepath.EvalSymlinks(root)
	if err != nil {
		return err
	}
	found, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for _, m := range slices.Backward(found) { // the last on top
		if m.Mountpoint == real {
			continue // the state may be a file system of its own
		}
		if err := unix.Unmount(m.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && err != unix.EINVAL {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

func stopWithin(server *grpc.Server, wait time.Duration) {
	kill := time.AfterFunc(wait, server.Stop)
	defer kill.Stop()
	server.GracefulStop()
}

// EmbeddedUsable tells what keeps the embedded daemon from working here, if
// anything does. runtime names the OCI runtime; empty: whichever is installed.
func EmbeddedUsable(runtime string) error {
	if _, err := findRuntime(runtime); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("the embedded BuildKit runs as root only; run as root, " +
			"or start a rootless BuildKit (buildkitd under rootlesskit) and name its socket with --builder or BUILDKIT_HOST")
	}
	return nil
}

// findRuntime returns the path of the OCI runtime to use.
func findRuntime(name string) (string, error) {
	candidates := ociRuntimes
	if name != "" {
		candidates = []string{name}
	}
	for _, c := range candidates {
		if p, err := exec.LookPath(c); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("no OCI runtime is installed (looked for %s); install one with: apt-get install runc",
		strings.Join(candidates, ", "))
}

// rootless reports whether root here is the root of a user namespace only.
func rootless() bool { return userns.RunningInUserNS() }
