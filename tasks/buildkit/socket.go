package buildkit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"bottlebuild/cache"
)

// maxSocketPath is the longest path of a Unix socket that all systems take:
// sockaddr_un holds 104 bytes on macOS, 108 on Linux, a closing zero included.
const maxSocketPath = 103

const socketName = "buildkitd.sock"

// SocketPath returns where the socket of the daemon with state in root belongs:
// in root itself or, where that path is too long for a socket, in a directory
// of root's own below runtimeDir ($XDG_RUNTIME_DIR), or below /tmp if runtimeDir
// is empty. The directory is made private when the daemon starts.
func SocketPath(root, runtimeDir string) (string, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("socket path: %w", err)
	}
	if p := filepath.Join(root, socketName); len(p) <= maxSocketPath {
		return p, nil
	}
	if runtimeDir == "" {
		runtimeDir = "/tmp"
	}
	dir := "bottlebuild-" + strconv.Itoa(os.Geteuid()) + "-" + cache.DigestOf([]byte(root)).Hex()[:16]
	p := filepath.Join(runtimeDir, dir, socketName)
	if len(p) > maxSocketPath {
		return "", fmt.Errorf("socket path: %s has %d bytes, a socket's path at most %d; use a runtime directory with a shorter path",
			p, len(p), maxSocketPath)
	}
	return p, nil
}

// privateDir makes dir, mode 0700, if it is not there, and refuses one that
// somebody else could have put there or can write to.
func privateDir(dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	switch {
	case !fi.IsDir():
		return fmt.Errorf("%s is not a directory", dir)
	case ok && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, not to user %d who runs this", dir, st.Uid, os.Geteuid())
	case fi.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s has mode %04o, which lets others in; mend it with: chmod 700 %s", dir, fi.Mode().Perm(), dir)
	}
	return nil
}
