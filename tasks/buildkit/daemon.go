package buildkit

import "time"

// DaemonConfig is what the embedded BuildKit daemon is started with.
type DaemonConfig struct {
	// Root is the directory of its state, made with mode 0700. One process at a
	// time uses it; BuildKit's own buildkitd takes the same lock.
	Root string
	// Socket is the path of its Unix socket, see [SocketPath]. Its directory is
	// made with mode 0700 and must belong to the user who runs the daemon.
	Socket string
	// Idle is how long after the last request the daemon leaves; 0: it stays
	// until the context ends.
	Idle time.Duration
	// MaxBytes is what its cache may take on disk, swept between builds; 0: a
	// tenth of the file system that holds Root.
	MaxBytes int64
	// Runtime is the OCI runtime that runs the steps, a name or a path; empty:
	// the first of runc and crun that there is.
	Runtime string
}

// ociRuntimes are what runs the steps of a build, by preference.
var ociRuntimes = []string{"buildkit-runc", "runc", "crun"}

// lockWait bounds how long a daemon waits for its predecessor, which may be on
// its way out, to give the state directory free.
const lockWait = 30 * time.Second

// stopWait bounds how long a daemon that is told to stop waits for the requests
// in flight.
const stopWait = 10 * time.Second

// lookEvery is how often a daemon looks whether its state is still in its place.
const lookEvery = 2 * time.Second
