package buildkit

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/buildkit/worker/label"
	"google.golang.org/grpc/codes"
)

// Builder is a BuildKit daemon that answers. Its methods may be called by
// several goroutines at once.
type Builder struct {
	// Name says how it was found: "embedded", "--builder", "BUILDKIT_HOST",
	// "socket", or "buildx NAME".
	Name string
	// Address is what BuildKit's client connects to: "unix:///…".
	Address string
	// Version is the daemon's own, empty if it does not tell.
	Version string
	// SameHost tells that the daemon can reach the loopback interface of this
	// machine, so that it can push into the store.
	SameHost bool
	// Platforms are what it builds for, the native one first: "linux/amd64".
	Platforms []string

	tls   TLS
	spawn *SpawnConfig // of the embedded daemon, else nil

	mu     sync.Mutex
	client *client.Client
}

// TLS says how a builder at a tcp address proves who it is, and we to it. With
// no field set there is no TLS. It has no bearing on other addresses.
type TLS struct {
	CACert     string // file of PEM certificates to trust; empty: the system's
	Cert, Key  string // files of our own certificate and its key; empty: none
	ServerName string // empty: the host of the address
}

func (t TLS) options(address string) []client.ClientOpt {
	if t == (TLS{}) || !strings.HasPrefix(address, "tcp://") {
		return nil
	}
	server := client.WithServerConfig(t.ServerName, t.CACert)
	if t.CACert == "" {
		server = client.WithServerConfigSystem(t.ServerName)
	}
	if t.Cert == "" && t.Key == "" {
		return []client.ClientOpt{server}
	}
	return []client.ClientOpt{server, client.WithCredentials(t.Cert, t.Key)}
}

// open connects and asks the daemon who it is.
func (b *Builder) open(ctx context.Context) error {
	c, err := client.New(ctx, b.Address, b.tls.options(b.Address)...)
	if err != nil {
		return err
	}
	workers, err := c.ListWorkers(ctx)
	if err == nil && len(workers) == 0 {
		err = errors.New("it has no workers")
	}
	if err == nil {
		err = exportable(workers[0])
	}
	if err != nil {
		c.Close()
		return err
	}
	b.Version = workers[0].BuildkitVersion.Version
	b.Platforms = nil
	for _, p := range workers[0].Platforms {
		b.Platforms = append(b.Platforms, platforms.Format(platforms.Normalize(p)))
	}
	b.client = c
	return nil
}

// exportable refuses the BuildKit inside a Docker Engine that keeps images in
// its own graph drivers: it cannot export OCI images. All others name their
// snapshotter, an engine with the containerd image store included.
func exportable(w *client.WorkerInfo) error {
	if w.Labels[label.Snapshotter] != "" {
		return nil
	}
	return errors.New("it is a Docker Engine without the containerd image store, which cannot export OCI images; " +
		`turn the store on with "features": {"containerd-snapshotter": true} in /etc/docker/daemon.json, ` +
		"or make a builder with: docker buildx create --driver docker-container --bootstrap")
}

// current returns the client in use.
func (b *Builder) current() *client.Client {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.client
}

// reconnect replaces the client broken, if no other call has done so, and starts
// the embedded daemon again if it has left.
func (b *Builder) reconnect(ctx context.Context, broken *client.Client) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client != broken {
		return nil
	}
	if b.spawn != nil {
		if err := Spawn(ctx, *b.spawn); err != nil {
			return err
		}
	}
	if err := b.open(ctx); err != nil {
		return fmt.Errorf("reconnect to %s: %w: %w", b.Address, ErrUnavailable, err)
	}
	broken.Close()
	return nil
}

// Close ends the connection. The daemon goes on.
func (b *Builder) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client == nil {
		return nil
	}
	err := b.client.Close()
	b.client = nil
	if err != nil {
		return fmt.Errorf("close builder %s: %w", b.Address, err)
	}
	return nil
}

// gone reports whether err means that the daemon has left or was restarted, so
// that the same request to a new one may succeed.
func gone(err error) bool {
	return err != nil && grpcerrors.Code(err) == codes.Unavailable
}

// sameHost reports whether a daemon at that address runs on this machine, in
// its network namespace as far as an address can tell.
func sameHost(address string) bool { return strings.HasPrefix(address, "unix://") }

// connectTries is how often a daemon that is just leaving is tried again.
const connectTries = 3

// connectWait bounds how long a builder that was named may take to answer; one
// in a cluster is started by the first connection.
const connectWait = 30 * time.Second
