// Package backend says what a backend is: something that packs an image and
// runs machines from the pack. Two implement it, tasks/smolvm and
// tasks/container; tasks/backendtest is the suite that both pass.
package backend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"bottlebuild/cache"
)

// Errors that callers tell apart, wrapped by those that backends return.
var (
	// ErrUnavailable: the backend cannot work on this machine. The message says
	// what is missing and how to get it. The tool exits with 4.
	ErrUnavailable = errors.New("backend unavailable")
	// ErrUnsupported: this backend cannot do what the machine asks for.
	ErrUnsupported = errors.New("not supported by this backend")
	// ErrNotFound: there is no machine of that name.
	ErrNotFound = errors.New("no such machine")
)

// SpecLabel is the label that carries the hash of the machine's spec; ProjectLabel
// the scope (bottle file) that declared it; AddressLabel the node's address;
// PackLabel the digest of the pack it was made from.
const (
	SpecLabel    = "bottlebuild.spec"
	ProjectLabel = "bottlebuild.project"
	AddressLabel = "bottlebuild.address"
	PackLabel    = "bottlebuild.pack"
)

// Backend packs images and runs machines. Methods may be called at once for
// different machines; callers serialise calls for one machine.
type Backend interface {
	// Name returns "smolvm" or "container".
	Name() string
	// Preflight tells whether the backend can work here, without side effects.
	// Its error wraps ErrUnavailable. The answer is found once and kept.
	Preflight(ctx context.Context) (Info, error)

	// Pack turns an image of the store into what machines are made from and
	// puts it into the store. The output's Digest is that of the artifact.
	Pack(ctx context.Context, req PackRequest) (cache.Output, error)
	// CheckPack reports why a pack that the cache has cannot be used, nil if it can.
	CheckPack(ctx context.Context, pack cache.Output) error

	// Validate reports, wrapping ErrUnsupported, what of the spec this backend
	// cannot do. It needs no machine and no preflight.
	Validate(spec Spec) error
	// Create makes a machine; it is not started. A failed Create leaves nothing.
	Create(ctx context.Context, spec Spec, pack cache.Output) error
	// Start starts a machine; one that runs already is no error.
	Start(ctx context.Context, name string) error
	// Stop stops a machine; one that is stopped already is no error.
	Stop(ctx context.Context, name string) error
	// Delete stops and removes a machine with its disk; one that is not there is
	// no error.
	Delete(ctx context.Context, name string) error
	// Status returns one machine; the error wraps ErrNotFound if it is not there.
	Status(ctx context.Context, name string) (Status, error)
	// List returns the machines that bottlebuild made, by name. On a machine
	// where the backend has never been used it returns none and no error.
	List(ctx context.Context) ([]Status, error)
	// Exec runs a command in a running machine and returns its exit code. err
	// is the backend's own failure, never the command's.
	Exec(ctx context.Context, name string, e Exec) (code int, err error)
	// CopyIn writes a file into a running machine, parents made as needed.
	CopyIn(ctx context.Context, name string, f File) error
	// Unpack copies into a running machine what a tar archive holds, which is one
	// file or directory: to dst, or into it if that is a directory, as
	// [copytree.Receive] does. It all belongs to the owner; empty: root.
	Unpack(ctx context.Context, name, dst, owner string, archive io.Reader) error
	// CopyOut writes a file or a directory of a running machine as a tar archive,
	// whose first entry is called by the last element of the path. What comes
	// out of it is the machine's word: read it with [copytree.Receive].
	CopyOut(ctx context.Context, name, path string, w io.Writer) error
	// Dial connects to a TCP port inside the machine. The error wraps
	// ErrUnsupported if that needs a published port and there is none.
	Dial(ctx context.Context, name string, port int) (net.Conn, error)
	// Log returns the last max bytes of the machine's console.
	Log(ctx context.Context, name string, max int64) ([]byte, error)
	// Console returns the path of the file on the host to which the machine's
	// console is appended. It may not exist yet, and be cut short or replaced.
	Console(ctx context.Context, name string) (path string, err error)
}

// Keeper is a [Backend] that keeps something in the store's directory besides
// blobs, which pruning the store should know of.
type Keeper interface {
	// Kept lists it.
	Kept(ctx context.Context) ([]Kept, error)
	// Drop removes one of what Kept lists, by its name, unless it is needed; it
	// reports whether it was removed.
	Drop(ctx context.Context, name string) (bool, error)
}

// Kept is something that a backend keeps and can make again.
type Kept struct {
	Name  string
	Bytes int64 // on disk
	Used  time.Time
	// Needed says by what it is needed: "machine web"; empty: by nothing.
	Needed string
}

// Info is what preflight found.
type Info struct {
	Name string // "smolvm", "runc"
	// Version enters the keys of packs.
	Version string
	// Notice is what a user should know once, such as weaker isolation; or empty.
	Notice string
}

// PackRequest asks for a pack of one image for one platform.
type PackRequest struct {
	Image    cache.Output // manifest, config and layers in the store
	Platform string       // "linux/amd64"
	// Log receives lines for the user.
	Log io.Writer
}

// Spec is a machine as the bottle file wants it.
type Spec struct {
	Name      string
	Labels    map[string]string
	CPUs      int // 0: the backend's default
	MemoryMiB int // 0: the backend's default
	// StorageGiB is the size of the machine's disk; 0: the backend's default.
	StorageGiB int
	Env        map[string]string
	// SecretEnv is like Env for values that may stand in no argument list. A
	// backend that has no other way to give them to the image's command leaves
	// them to Exec.
	SecretEnv map[string]string
	// User and Workdir are those of the image's command; empty: the image's own.
	// smolvm has no way to set them, and leaves the command as the image has it.
	User, Workdir string
	Restart       Restart
	Network       *Network // nil: none
	Ports         []Port
	Volumes       []Volume
}

// Restart says when the image's command is started again after it has ended by
// itself.
type Restart string

// The restart policies; an empty one is RestartNever.
const (
	RestartNever     Restart = "never"
	RestartOnFailure Restart = "on-failure" // unless its exit code is 0
	RestartAlways    Restart = "always"
)

// Network is what a machine may reach. With no list and not Open it is none.
type Network struct {
	Open       bool
	AllowHosts []string
	AllowCIDRs []string
}

// Port publishes a guest's TCP port on the host's loopback.
type Port struct{ Host, Guest int }

// Volume shares a directory of the host.
type Volume struct {
	Host     string // absolute
	Guest    string // absolute
	ReadOnly bool
}

// CheckHostDirs reports the first of the volumes whose directory is not there.
func CheckHostDirs(volumes []Volume) error {
	for _, v := range volumes {
		fi, err := os.Stat(v.Host)
		if err == nil && !fi.IsDir() {
			err = errors.New("it is not a directory")
		}
		if err != nil {
			return fmt.Errorf("volume %s on the host: %w", v.Host, err)
		}
	}
	return nil
}

// State is where a machine is in its life.
type State string

// The states. Backends map their own to these; Frozen is left alone.
const (
	Created State = "created"
	Running State = "running"
	Stopped State = "stopped"
	Broken  State = "failed"
	Frozen  State = "frozen"
)

// Status is a machine as it is.
type Status struct {
	Name      string
	Backend   string
	State     State
	Labels    map[string]string
	CreatedAt time.Time
	CPUs      int
	MemoryMiB int
	Ports     []Port
	PID       int // of its first process on the host; 0: not running or not known
	// Note is what the state does not tell, such as that the image's command has
	// ended; or empty.
	Note string
}

// StartLine is what a backend that can writes to the console, as a line of its
// own, whenever the machine starts.
const StartLine = "bottlebuild: the machine starts"

// Exec is a command to run in a machine.
type Exec struct {
	Args    []string
	Env     map[string]string // on top of the image's and the machine's own
	User    string            // name or uid, with ":group" if wanted; empty: the image's
	Workdir string            // empty: the image's
	TTY     bool
	Stdin   io.Reader // nil: none
	Stdout  io.Writer // nil: dropped
	Stderr  io.Writer
	// SecretEnv is like Env for values that may stand in no argument list, no
	// log and no file.
	SecretEnv map[string]string
	// Signals are passed on to the command, as far as the backend can; nil: none.
	Signals <-chan os.Signal
}

// File is a file to be written into a machine.
type File struct {
	Path    string // absolute
	Content []byte
	Mode    uint32 // permission bits
	Owner   string // "user", "user:group" or ids; empty: root
}
