package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/tasks"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/container"
	"bottlebuild/tasks/progress"
	"bottlebuild/tasks/registry"
	"bottlebuild/tasks/smolvm"
)

// app is what every command needs of the world: this is the only place that
// reads the environment.
type app struct {
	stdin          *os.File
	stdout, stderr *os.File
	lookup         func(string) (string, bool)
	signals        *signals

	builder    string       // --builder
	builderTLS buildkit.TLS // --builder-tls-*
	locked     bool         // --locked
	// rawProgress keeps everything but JSON from standard error.
	rawProgress bool
}

func newApp(stdin, stdout, stderr *os.File, lookup func(string) (string, bool)) *app {
	return &app{stdin: stdin, stdout: stdout, stderr: stderr, lookup: lookup, signals: &signals{}}
}

func (a *app) env(name string) string {
	v, _ := a.lookup(name)
	return v
}

// dir returns the directory that the variable own names, else one below that of
// the XDG variable, else below the home directory.
func (a *app) dir(own, xdg, home string) string {
	if d := a.env(own); d != "" {
		return d
	}
	if d := a.env(xdg); filepath.IsAbs(d) {
		return filepath.Join(d, "bottlebuild")
	}
	return filepath.Join(a.env("HOME"), home, "bottlebuild")
}

func (a *app) cacheDir() string { return a.dir("BOTTLEBUILD_CACHE", "XDG_CACHE_HOME", ".cache") }

// stateDir holds what machines need for as long as they exist.
func (a *app) stateDir() string {
	return a.dir("BOTTLEBUILD_STATE", "XDG_STATE_HOME", ".local/state")
}

// records are what is remembered of machines.
func (a *app) records() tasks.Records {
	return tasks.Records{Dir: filepath.Join(a.stateDir(), "records")}
}

func (a *app) runtimeDir() string { return a.env("XDG_RUNTIME_DIR") }

func (a *app) dockerConfig() string {
	if d := a.env("DOCKER_CONFIG"); d != "" {
		return d
	}
	return filepath.Join(a.env("HOME"), ".docker")
}

// version returns bottlebuild's own version: that of the module, and for a
// build from a checkout "dev".
func version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

// platform is what images are built for where nothing else is said.
func platform() string { return "linux/" + runtime.GOARCH }

// session is an open store and a worker over it, for the time of one command.
type session struct {
	*app
	store  *cache.Store
	worker *tasks.Worker
	shared *remote.Cache // nil: there is none

	mu      sync.Mutex
	builder *buildkit.Builder
	closers []io.Closer
	display atomic.Pointer[display] // of progress; nil: none
}

// sink returns where the node at an address reports to.
func (s *session) sink(address string) progress.Sink {
	if d := s.display.Load(); d != nil {
		return d.sink(address)
	}
	return progress.Discard{}
}

// open opens the store, which is made if it is not there, and sets up a worker;
// nothing is started or contacted.
func (a *app) open() (*session, error) { return a.session(cache.Open) }

// hold is open for commands that use what they find in the cache: it stays there
// until release is called, before the session is closed.
func (a *app) hold() (s *session, release func(), err error) {
	if s, err = a.open(); err != nil {
		return nil, nil, err
	}
	if release, err = s.store.Hold(); err != nil {
		s.close()
		return nil, nil, err
	}
	return s, release, nil
}

// look is open for commands that change nothing, on disk or elsewhere.
func (a *app) look() (*session, error) { return a.session(cache.View) }

func (a *app) session(open func(dir string) (*cache.Store, error)) (*session, error) {
	if a.env("HOME") == "" && a.env("BOTTLEBUILD_CACHE") == "" && a.env("XDG_CACHE_HOME") == "" {
		return nil, usageError("there is no place for the cache: set HOME or BOTTLEBUILD_CACHE")
	}
	store, err := open(a.cacheDir())
	if err != nil {
		return nil, err
	}
	state, err := filepath.Abs(a.stateDir())
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program's own file: %w", err)
	}
	s := &session{app: a, store: store, closers: []io.Closer{store}}
	s.worker = &tasks.Worker{
		Store:    store,
		Scanner:  buildcontext.New(store, runtime.GOMAXPROCS(0)),
		Registry: &registry.Client{Keychain: authn.DefaultKeychain, Transport: http.DefaultTransport, Store: store},
		Records:  a.records(),
		Volumes:  tasks.Volumes{Dir: filepath.Join(a.stateDir(), "volumes")},
		Secret:   a.secret,
		SSHAgent: a.env("SSH_AUTH_SOCK"),
		Env:      os.Environ(),
		Locked:   a.locked,
		Platform: platform(),
		Builder:  func(ctx context.Context) (*buildkit.Builder, error) { return s.connect(ctx, self) },
		Progress: s.sink,
		Backends: &tasks.Backends{
			Smolvm: smolvm.New(smolvm.Config{
				Store: store, StateDir: filepath.Join(state, "smolvm"), Env: os.Environ(),
			}),
			Container: func(name string) backend.Backend {
				return container.New(container.Config{
					Store: store, StateDir: filepath.Join(state, "machines"), Runtime: name, Init: self,
				})
			},
			Notice: func(text string) {
				if !a.rawProgress {
					fmt.Fprintln(a.stderr, "bottlebuild:", text)
				}
			},
		},
	}
	return s, nil
}

// close gives back what the session holds. What the scans have learnt is saved
// by those commands that may change things.
func (s *session) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.builder != nil {
		s.builder.Close()
	}
	if s.shared != nil {
		if err := s.shared.Close(); err != nil && !s.rawProgress {
			fmt.Fprintf(s.stderr, "bottlebuild: what was learnt of the shared cache was not kept: %v\n", err)
		}
	}
	for _, c := range s.closers {
		c.Close()
	}
}

// connect returns the builder, found or started at the first call that succeeds.
func (s *session) connect(ctx context.Context, self string) (*buildkit.Builder, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.builder != nil {
		return s.builder, nil
	}
	root := s.buildkitRoot()
	socket, err := buildkit.SocketPath(root, s.runtimeDir())
	if err != nil {
		return nil, err
	}
	b, err := buildkit.Connect(ctx, buildkit.Config{
		Address:      s.app.builder,
		BuildkitHost: s.env("BUILDKIT_HOST"),
		Sockets:      buildkit.UsualSockets(s.runtimeDir()),
		DockerConfig: s.dockerConfig(),
		TLS:          s.builderTLS,
		Embedded: &buildkit.SpawnConfig{
			Argv: []string{self, daemonCommand, "--root", root, "--socket", socket, "--idle", daemonIdle.String()},
			Env:  s.daemonEnv(), Root: root, Socket: socket,
		},
	})
	if err != nil {
		return nil, err
	}
	s.builder = b
	return b, nil
}

// daemonEnv is what the embedded BuildKit needs of the environment. It outlives
// this command, so the rest, secrets among it, is not for it.
func (a *app) daemonEnv() []string {
	var env []string
	for _, name := range []string{
		"PATH", "HOME", "TMPDIR", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	} {
		if v, ok := a.lookup(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// daemonIdle is how long the embedded BuildKit stays after its last request.
const daemonIdle = 5 * time.Minute
