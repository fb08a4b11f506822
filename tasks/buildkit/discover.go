package buildkit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	// How to reach a daemon inside something else; each registers its scheme.
	_ "github.com/moby/buildkit/client/connhelper/dockercontainer"
	_ "github.com/moby/buildkit/client/connhelper/kubepod"
	_ "github.com/moby/buildkit/client/connhelper/nerdctlcontainer"
	_ "github.com/moby/buildkit/client/connhelper/podmancontainer"
	_ "github.com/moby/buildkit/client/connhelper/ssh"
)

// Config says where to look for a builder. The first that applies is taken:
// Address, BuildkitHost, the first of Sockets that answers, a buildx builder
// that runs, the embedded daemon.
type Config struct {
	// Address is what the user named (--builder); one that does not answer is
	// an error.
	Address string
	// BuildkitHost is the value of BUILDKIT_HOST, treated like Address.
	BuildkitHost string
	// Sockets are paths of Unix sockets to try, see [UsualSockets].
	Sockets []string
	// DockerConfig is the directory of docker's client configuration, whose
	// buildx builders are considered; empty: none are.
	DockerConfig string
	// Embedded says how to start the embedded daemon; nil: not at all.
	Embedded *SpawnConfig
	// TLS applies to Address and BuildkitHost.
	TLS TLS
}

// UsualSockets returns the paths where BuildKit listens by default: as root, and
// rootless below the user's runtimeDir ($XDG_RUNTIME_DIR) unless that is empty.
func UsualSockets(runtimeDir string) []string {
	sockets := []string{"/run/buildkit/buildkitd.sock"}
	if runtimeDir != "" {
		sockets = append(sockets, runtimeDir+"/buildkit/buildkitd.sock", runtimeDir+"/buildkit/rootless")
	}
	return sockets
}

// Connect finds a builder as cfg says. The error wraps [ErrUnavailable] and says
// what was tried. The caller closes the builder.
func Connect(ctx context.Context, cfg Config) (*Builder, error) {
	for _, named := range []struct{ how, address string }{
		{"--builder", cfg.Address}, {"BUILDKIT_HOST", cfg.BuildkitHost},
	} {
		if named.address == "" {
			continue
		}
		b := &Builder{Name: named.how, Address: named.address, SameHost: sameHost(named.address), tls: cfg.TLS}
		ctx, cancel := context.WithTimeout(ctx, connectWait)
		defer cancel()
		if err := b.open(ctx); err != nil {
			return nil, fmt.Errorf("connect to %s (from %s): %w: %w%s", b.Address, b.Name, ErrUnavailable, err, hint(err, b.Address, cfg.TLS))
		}
		return b, nil
	}
	var tried []error
	for _, f := range append(socketBuilders(cfg.Sockets), buildxBuilders(cfg.DockerConfig)...) {
		if err := f.openQuickly(ctx); err != nil {
			tried = append(tried, fmt.Errorf("%s: %w", f.Address, err))
			continue
		}
		return f, nil
	}
	if cfg.Embedded == nil {
		return nil, noBuilder(tried)
	}
	b, err := connectEmbedded(ctx, cfg.Embedded)
	if err != nil {
		return nil, fmt.Errorf("connect to builder: %w", errors.Join(append([]error{err}, tried...)...))
	}
	return b, nil
}

// connectEmbedded connects to the embedded daemon, started if need be. One that
// answers may leave before the next request; then it is started anew.
func connectEmbedded(ctx context.Context, cfg *SpawnConfig) (*Builder, error) {
	b := &Builder{Name: "embedded", Address: cfg.address(), SameHost: true, spawn: cfg}
	var err error
	for range connectTries {
		if err = Spawn(ctx, *cfg); err != nil {
			return nil, err
		}
		if err = b.openQuickly(ctx); err == nil {
			return b, nil
		}
	}
	return nil, fmt.Errorf("%s: %w: %w", b.Address, ErrUnavailable, err)
}

func (b *Builder) openQuickly(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	return b.open(ctx)
}

func noBuilder(tried []error) error {
	text := "no BuildKit was found and the embedded one is not allowed; name one with --builder or BUILDKIT_HOST"
	if len(tried) == 0 {
		return fmt.Errorf("connect to builder: %w: %s", ErrUnavailable, text)
	}
	return fmt.Errorf("connect to builder: %w: %s: %w", ErrUnavailable, text, errors.Join(tried...))
}

// hint says what may be missing towards a server that broke the connection off:
// one that wants a client certificate does so, in words that depend on when.
func hint(err error, address string, tls TLS) string {
	if tls.Cert != "" || !strings.HasPrefix(address, "tcp://") || strings.Contains(err.Error(), "connection refused") {
		return ""
	}
	return "; if it wants TLS, it wants a client certificate too"
}
