package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// inPlace tells whether path still leads to the file that own describes. Who
// removes the cache removes the state of a running daemon, and the next one is
// then started at the same paths. own is of a file that is open, so nothing else
// gets its inode.
func inPlace(path string, own fs.FileInfo) bool {
	now, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return os.SameFile(now, own)
}

// stateLock is the lock of a state directory, the one that buildkitd takes too.
type stateLock struct {
	file *flock.Flock
	own  fs.FileInfo
}

func (l *stateLock) inPlace() bool { return inPlace(l.file.Path(), l.own) }

func (l *stateLock) unlock() { l.file.Close() }

func lockState(ctx context.Context, root string) (*stateLock, error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		lock := flock.New(filepath.Join(root, "buildkitd.lock"), flock.SetPermissions(0o600))
		if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
			return nil, fmt.Errorf("lock %s: another BuildKit daemon uses this directory: %w", lock.Path(), err)
		}
		own, err := lock.Stat()
		if err != nil {
			lock.Close()
			return nil, fmt.Errorf("lock %s: %w", lock.Path(), err)
		}
		l := &stateLock{lock, own}
		if l.inPlace() {
			return l, nil
		}
		l.unlock() // removed between its opening and its locking
	}
}

// privateListener is a listener whose socket goes with it, unless its path is
// another's by then.
type privateListener struct {
	*net.UnixListener
	path  string
	own   fs.FileInfo
	close func() error
}

func (l *privateListener) inPlace() bool { return inPlace(l.path, l.own) }

func (l *privateListener) Close() error { return l.close() }

// listenPrivate listens on a socket that only this user can connect to. The
// caller holds the state's lock, so a socket that is there has no owner.
func listenPrivate(socket string) (*privateListener, error) {
	if err := privateDir(filepath.Dir(socket)); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("remove stale socket: %w", err)
	}
	unix, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, err
	}
	own, err := os.Stat(socket)
	if err == nil {
		err = os.Chmod(socket, 0o600)
	}
	if err != nil {
		unix.Close()
		return nil, err
	}
	unix.SetUnlinkOnClose(false)
	l := &privateListener{UnixListener: unix, path: socket, own: own}
	l.close = sync.OnceValue(func() error {
		if l.inPlace() {
			os.Remove(socket)
		}
		return unix.Close()
	})
	return l, nil
}
