package container

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Stop implements [backend.Backend].
func (b *Backend) Stop(ctx context.Context, name string) error {
	if _, err := b.load(name); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	unlock, err := b.lockMachine(ctx, name)
	if err != nil {
		return fmt.Errorf("stop machine %s: %w", name, err)
	}
	defer unlock()
	if _, err := b.load(name); err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	if err := b.stop(ctx, name); err != nil {
		return fmt.Errorf("stop machine %s: %w", name, err)
	}
	return nil
}

// stop asks the machine to end, then ends it, and clears up after it.
func (b *Backend) stop(ctx context.Context, name string) error {
	r, err := b.loadRun(name)
	if err != nil {
		return err
	}
	if r.alive() {
		if err := r.terminate(ctx, b.conf.StopGrace); err != nil {
			return err
		}
	}
	return b.clear(ctx, name)
}

// terminate sends SIGTERM to the first process and waits until it ends, for as
// long as grace. The signal is repeated, since one that comes before the process
// has set itself up for it is lost.
func (r *run) terminate(ctx context.Context, grace time.Duration) error {
	fd, err := unix.PidfdOpen(r.PID, 0)
	if err != nil {
		return ignoreESRCH(err)
	}
	defer unix.Close(fd)
	if !r.alive() { // so the descriptor may be of another process
		return nil
	}
	for end := time.Now().Add(grace); time.Now().Before(end); {
		if err := ignoreESRCH(unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)); err != nil {
			return err
		}
		for again := time.Now().Add(time.Second); time.Now().Before(again); {
			n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 50)
			if n > 0 {
				return nil
			}
			if err != nil && err != unix.EINTR {
				return err
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
	}
	return nil
}

func ignoreESRCH(err error) error {
	if err == unix.ESRCH {
		return nil
	}
	return err
}

// clear ends what still runs of the machine and takes away what it has outside
// of its directory: the runtime's state, its cgroup, its mount.
func (b *Backend) clear(ctx context.Context, name string) error {
	r, err := b.loadRun(name)
	if err != nil {
		return err
	}
	if r != nil {
		if rt, err := b.runtime(r.Runtime); err == nil {
			if err := rt.remove(ctx, b.dir(name), b.id(name)); err != nil {
				return err
			}
		}
		// They end by themselves, but ports must be free when this returns.
		if err := errors.Join(r.Forwarder.end(), r.Uplink.end()); err != nil {
			return err
		}
	}
	// These need no runtime, and do for one that was killed or is gone.
	if err := removeCgroups(ctx, b.id(name)); err != nil {
		return err
	}
	if err := unmount(b.file(name, "rootfs")); err != nil {
		return err
	}
	// What starts with a dot is half a file, of a process that was killed.
	for _, pattern := range []string{"exec-*", ".*", "run.json"} {
		left, err := filepath.Glob(b.file(name, pattern))
		if err != nil {
			return err
		}
		for _, path := range left {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// Delete implements [backend.Backend].
func (b *Backend) Delete(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return nil // there is no such machine
	}
	if _, err := os.Lstat(b.dir(name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := b.lockMachine(ctx, name)
	if err != nil {
		return fmt.Errorf("delete machine %s: %w", name, err)
	}
	defer unlock()
	err = b.stop(ctx, name)
	if err == nil {
		err = b.wipe(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("delete machine %s: %w", name, err)
	}
	return nil
}

// wipe removes the machine's directory, whole or not. machine.json goes first,
// so that what a killed process leaves is no machine.
func (b *Backend) wipe(ctx context.Context, name string) error {
	if _, err := os.Lstat(b.dir(name)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := b.clear(ctx, name); err != nil {
		return err
	}
	if err := ignoreNotExist(os.Remove(b.file(name, "machine.json"))); err != nil {
		return err
	}
	if err := refuseMounts(b.dir(name)); err != nil {
		return err
	}
	return os.RemoveAll(b.dir(name))
}
