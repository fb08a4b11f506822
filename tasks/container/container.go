// Package container is the backend that runs machines with an OCI runtime, such
// as runc, on Linux: real namespaces, cgroup limits and a writable layer per
// machine, but the host's kernel.
//
// What it trusts: the host, the runtime, and its own state directory. What it
// does not: images, and everything that runs in a machine. So layers are
// unpacked within bounds and confined to their directory; no path, user or link
// of a machine is resolved by the host (see package machineinit); and the host
// mounts a machine's disk without devices. What a machine may reach is enforced
// outside of it (see package uplink).
//
// The state directory holds, all of it private to root:
//
//	machines/NAME/   machine.json and run.json, upper and work of the overlay,
//	                 rootfs where it is mounted, config.json, console.log
//	locks/NAME       flock files of machines that are being worked on
//	init/ID          copies of bottlebuild's binary, for mounting into machines; none
//	                 where it can be linked to
//	runtime/RUNTIME  the runtime's own state
//
// The store's directory rootfs/CHAIN holds an unpacked image, shared by all
// machines with its layers; it can always be made again from them.
package container

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"bottlebuild/cache"
	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/uplink"
)

// Config says with what a [Backend] works.
type Config struct {
	Store *cache.Store
	// StateDir is where machines are kept; absolute. It is made when needed.
	StateDir string
	// Runtime is the OCI runtime's program, a name on PATH or a path: "runc" if
	// empty, "crun", …
	Runtime string
	// Init is the path of a static Linux executable that hands its arguments
	// after "machine-init" to machineinit.Main: bottlebuild itself. It is
	// mounted read-only into machines.
	Init string
	// StopGrace is how long a machine has to stop by itself; 10 s if zero.
	StopGrace time.Duration
	// ResolvConf is the resolv.conf(5) whose name servers machines' names are
	// looked up at; /etc/resolv.conf if empty.
	ResolvConf string
	// Limits bound what is unpacked of one image.
	Limits Limits
}

// Limits bound an unpacked image; a zero field stands for the default.
type Limits struct {
	Entries int64 // of its layers' archives; 2,000,000 by default
	Bytes   int64 // of its layers, unpacked; 64 GiB by default
}

// What a machine gets if its spec does not say.
const (
	DefaultCPUs      = 2
	DefaultMemoryMiB = 4096
)

// PIDsLimit is the number of processes and threads that a machine may have.
const PIDsLimit = 8192

const (
	defaultRuntime   = "runc"
	defaultResolv    = "/etc/resolv.conf"
	defaultStopGrace = 10 * time.Second
	defaultEntries   = 2_000_000
	defaultBytes     = 64 << 30
)

// Backend implements [backend.Backend].
type Backend struct {
	conf Config

	mu   sync.Mutex
	info *backend.Info // of a preflight that is over
	err  error         // its error
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend. It does not look at the machine: Preflight does.
func New(c Config) *Backend {
	if c.Runtime == "" {
		c.Runtime = defaultRuntime
	}
	if c.StopGrace == 0 {
		c.StopGrace = defaultStopGrace
	}
	if c.ResolvConf == "" {
		c.ResolvConf = defaultResolv
	}
	if c.Limits.Entries == 0 {
		c.Limits.Entries = defaultEntries
	}
	if c.Limits.Bytes == 0 {
		c.Limits.Bytes = defaultBytes
	}
	return &Backend{conf: c}
}

// Name returns "container".
func (b *Backend) Name() string { return "container" }

// namePattern is a DNS label of RFC 1123, lower case: it is host name, file name
// and cgroup name.
var namePattern = lazyregexp.New(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`)

const maxName = 63

func checkName(name string) error {
	if !namePattern.MatchString(name) || len(name) > maxName {
		return fmt.Errorf("machine name %.80q: it must be 1 to 63 of a-z, 0-9 and -, with no - at either end", name)
	}
	return nil
}

// Validate implements [backend.Backend].
func (b *Backend) Validate(s backend.Spec) error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if err := checkName(s.Name); err != nil {
		errs = append(errs, err)
	}
	if n := s.Network; n != nil {
		if err := (uplink.Config{Hosts: n.AllowHosts, CIDRs: n.AllowCIDRs}).Check(); err != nil {
			fail("network: %w", err)
		}
		if n.Open && len(n.AllowHosts)+len(n.AllowCIDRs) > 0 {
			fail("network: it is open and has a list of what it may reach; remove one of the two")
		}
	}
	switch s.Restart {
	case "", backend.RestartNever, backend.RestartOnFailure, backend.RestartAlways:
	default:
		fail("restart: %q is no policy", s.Restart)
	}
	if s.StorageGiB > 0 {
		fail(`storage: %w: the container backend cannot bound a machine's disk; use backend = "smolvm" or drop storage`, backend.ErrUnsupported)
	}
	if s.CPUs < 0 {
		fail("cpus: %d is below zero", s.CPUs)
	}
	if s.MemoryMiB < 0 || s.MemoryMiB > 0 && s.MemoryMiB < minMemoryMiB {
		fail("memory: %d MiB is too little; a machine needs %d MiB", s.MemoryMiB, minMemoryMiB)
	}
	errs = append(errs, checkEnv(s.Env), checkEnv(s.SecretEnv), checkPorts(s.Ports), checkVolumes(s.Volumes))
	return errors.Join(errs...)
}

// checkPorts reports ports that are none, and two that are one.
func checkPorts(ports []backend.Port) error {
	seen := map[int]bool{}
	for _, p := range ports {
		for _, n := range []int{p.Host, p.Guest} {
			if n < 1 || n > 65535 {
				return fmt.Errorf("port %d: ports go from 1 to 65535", n)
			}
		}
		if seen[p.Host] {
			return fmt.Errorf("port %d of the host is published twice", p.Host)
		}
		seen[p.Host] = true
	}
	return nil
}

// minMemoryMiB is what a machine's first process and a helper need, with room.
const minMemoryMiB = 64

func checkEnv(env map[string]string) error {
	for name, value := range env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("env: %q is no name of a variable", name)
		}
		if strings.Contains(value, "\x00") {
			return fmt.Errorf("env: the value of %s has a NUL byte", name)
		}
	}
	return nil
}

// reserved are directories that the runtime fills.
var reserved = []string{"/proc", "/sys", "/dev"}

func checkVolumes(volumes []backend.Volume) error {
	seen := map[string]bool{}
	for _, v := range volumes {
		guest := filepath.Clean(v.Guest)
		switch {
		case !filepath.IsAbs(v.Host) || strings.Contains(v.Host, "\x00"):
			return fmt.Errorf("volume %q: the host's path must be absolute", v.Host)
		case !filepath.IsAbs(v.Guest) || strings.Contains(v.Guest, "\x00"):
			return fmt.Errorf("volume %s: the guest's path %q must be absolute", v.Host, v.Guest)
		case guest == "/":
			return fmt.Errorf("volume %s: it would hide the whole image; give it a directory below /", v.Host)
		case seen[guest]:
			return fmt.Errorf("volume %s: another volume is at %s", v.Host, guest)
		}
		for _, dir := range reserved {
			if guest == dir || strings.HasPrefix(guest, dir+"/") {
				return fmt.Errorf("volume %s: %s is not for volumes", v.Host, dir)
			}
		}
		seen[guest] = true
	}
	return nil
}
