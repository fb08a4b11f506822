// Package smolvm is the backend that runs machines as micro virtual machines of
// the smolvm program. It drives that program's command line, 1.8.1 and later;
// what differs between versions is asked of the program itself.
package smolvm

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/registry"
)

// Config is what the backend works with.
type Config struct {
	// Store holds the images to be packed and takes the packs. smolvm's
	// temporary files go below it too, so it must be on a disk with room for a
	// pack: never a file system in memory.
	Store *cache.Store
	// StateDir is an absolute directory, made when needed, that keeps a record
	// and the pack of every machine. On the store's file system the pack takes
	// no room of its own.
	StateDir string
	// Binary is the program's name or absolute path; empty: "smolvm". A name is
	// looked for in the PATH of Env.
	Binary string
	// Env is the whole environment of the program: "NAME=value" each.
	Env []string
	// KVM is the device that must be usable on Linux; empty: "/dev/kvm".
	KVM string
	// Patience is how long smolvm may take for what it answers from its own
	// records; what boots, stops or copies may take 20 times as long; 0: 30 s.
	Patience time.Duration
	// Serve opens the registry from which smolvm pulls an image that is to be
	// packed; it is closed after each pack. nil: [registry.Serve] on Store.
	Serve func(ctx context.Context) (*registry.Server, error)
}

// Backend implements [backend.Backend].
type Backend struct {
	cfg Config

	mu       sync.Mutex // guards what follows
	found    *program
	foundErr error
	flags    map[string]flagSet // by subcommand: "machine exec"
}

var _ backend.Backend = (*Backend)(nil)

// New returns the backend. It touches nothing before its first method is called.
func New(cfg Config) *Backend {
	if cfg.Binary == "" {
		cfg.Binary = "smolvm"
	}
	if cfg.KVM == "" {
		cfg.KVM = "/dev/kvm"
	}
	if cfg.Patience == 0 {
		cfg.Patience = 30 * time.Second
	}
	if cfg.Serve == nil {
		cfg.Serve = func(ctx context.Context) (*registry.Server, error) {
			return registry.Serve(ctx, cfg.Store)
		}
	}
	return &Backend{cfg: cfg, flags: map[string]flagSet{}}
}

// Name returns "smolvm".
func (b *Backend) Name() string { return "smolvm" }

// Preflight finds the program, asks its version, and looks for the hypervisor.
func (b *Backend) Preflight(ctx context.Context) (backend.Info, error) {
	p, err := b.program(ctx)
	if err != nil {
		return backend.Info{}, err
	}
	if err := checkHypervisor(b.cfg.KVM); err != nil {
		return backend.Info{}, fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	return backend.Info{Name: "smolvm", Version: p.version.String()}, nil
}
