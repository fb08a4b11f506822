package buildkit

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"pgregory.net/rapid"
)

func TestConnectSharesDaemon(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	cfg := spawnConfig(t, root, time.Hour)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			b, err := Connect(t.Context(), Config{Embedded: cfg})
			if err != nil {
				t.Error(err)
				return
			}
			if err := b.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	pid := daemonPID(t, root)
	connect(t, cfg)
	if got := daemonPID(t, root); got != pid || pid == 0 {
		t.Errorf("daemon is process %d, was %d", got, pid)
	}
	log, err := os.ReadFile(filepath.Join(root, "buildkitd.log"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), "another BuildKit daemon") {
		t.Errorf("several daemons were started:\n%s", log)
	}
	if sid, _, _ := syscall.Syscall(syscall.SYS_GETSID, uintptr(pid), 0, 0); int(sid) != pid {
		t.Errorf("daemon %d is in session %d", pid, sid)
	}
	fi, err := os.Stat(cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket has mode %v", fi.Mode())
	}
	if fi, err = os.Stat(filepath.Dir(cfg.Socket)); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("directory of socket has mode %v, error %v", fi.Mode(), err)
	}
}

func TestDaemonLeavesWhenIdle(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	cfg := spawnConfig(t, root, 200*time.Millisecond)
	connect(t, cfg)
	waitFor(t, "the daemon to leave", func() bool { return daemonPID(t, root) == 0 })
	if _, err := os.Lstat(cfg.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("socket is still there: %v", err)
	}
	// It comes back when it is wanted, and stays as long as a build takes.
	b := connect(t, cfg)
	dir := withProgram(t, nil)
	build(t, b, BuildRequest{
		Definition: dockerfileOf("FROM scratch\nCOPY thing /\nRUN [\"/thing\",\"nap\"]\n"),
		Store:      openStore(t), Dirs: dirs(t, dir), SharedKey: "i",
	})
}

func TestDaemonRecovers(t *testing.T) {
	root := filepath.Join(t.TempDir(), "state")
	cfg := spawnConfig(t, root, time.Hour)
	connect(t, cfg)
	endDaemon(t, root, syscall.SIGKILL)
	if _, err := os.Lstat(cfg.Socket); err != nil {
		t.Fatalf("a killed daemon leaves its socket: %v", err)
	}
	connect(t, cfg)
	if daemonPID(t, root) == 0 {
		t.Error("no daemon runs")
	}
}

// TestDaemonWhoseStateIsGone has the state removed below an idle daemon, as by
// whoever clears the cache.
func TestDaemonWhoseStateIsGone(t *testing.T) {
	for name, end := range map[string]func(pid int) error{
		"it leaves by itself": func(int) error { return nil },
		"it is ended":         func(pid int) error { return syscall.Kill(pid, syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "state")
			cfg := spawnConfig(t, root, time.Hour)
			connect(t, cfg)
			old := daemonPID(t, root)
			if err := os.RemoveAll(root); err != nil {
				t.Fatal(err)
			}
			connect(t, cfg)
			pid := daemonPID(t, root)
			if err := end(old); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the old daemon to leave", func() bool { return syscall.Kill(old, 0) != nil })
			connect(t, cfg)
			if got := daemonPID(t, root); got != pid || pid == 0 || pid == old {
				t.Errorf("daemon is process %d, was %d, and %d before", got, pid, old)
			}
		})
	}
	t.Run("only its socket is gone", func(t *testing.T) {
		root := filepath.Join(t.TempDir(), "state")
		cfg := spawnConfig(t, root, time.Hour)
		connect(t, cfg)
		old := daemonPID(t, root)
		if err := os.Remove(cfg.Socket); err != nil {
			t.Fatal(err)
		}
		connect(t, cfg)
		if pid := daemonPID(t, root); pid == 0 || pid == old {
			t.Errorf("daemon is process %d, was %d", pid, old)
		}
	})
}

func TestSpawnFails(t *testing.T) {
	for name, tc := range map[string]struct {
		argv []string
		says string
	}{
		"no command":   {[]string{"/nowhere/bottlebuild"}, "no such file"},
		"it fails":     {[]string{"/bin/sh", "-c", "echo the reason; exit 3"}, "the reason"},
		"it ends":      {[]string{"/bin/true"}, "before it answered"},
		"never answer": {[]string{"/bin/sh", "-c", "echo waiting; exec sleep 60"}, "did not answer within"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := spawnConfig(t, filepath.Join(t.TempDir(), "state"), time.Hour)
			cfg.Argv, cfg.Wait = tc.argv, time.Second
			_, err := Connect(t.Context(), Config{Embedded: cfg})
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error is %v, want %q", err, tc.says)
			}
		})
	}
	t.Run("no runtime", func(t *testing.T) {
		cfg := spawnConfig(t, filepath.Join(t.TempDir(), "state"), time.Hour)
		cfg.Runtime = "no-such-runtime"
		_, err := Connect(t.Context(), Config{Embedded: cfg})
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "apt-get install") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestSocketPath(t *testing.T) {
	long := "/" + strings.Repeat("long/", 30)
	for _, tc := range []struct{ root, runtimeDir, prefix string }{
		{"/var/cache/bottlebuild/buildkit", "/run/user/0", "/var/cache/bottlebuild/buildkit/"},
		{long, "/run/user/0", "/run/user/0/bottlebuild-"},
		{long, "", "/tmp/bottlebuild-"},
	} {
		got, err := SocketPath(tc.root, tc.runtimeDir)
		if err != nil || !strings.HasPrefix(got, tc.prefix) || len(got) > maxSocketPath {
			t.Errorf("SocketPath(%s, %s) = %s, %v", tc.root, tc.runtimeDir, got, err)
		}
	}
	if a, _ := SocketPath(long+"a", ""); a == "" {
		t.Error("no path")
	} else if b, _ := SocketPath(long+"b", ""); a == b {
		t.Errorf("two roots share %s", a)
	}
	if _, err := SocketPath(long, long); err == nil {
		t.Error("no error for a long runtime directory")
	}
}

func TestDaemonWithLongRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), strings.Repeat("long", 20), strings.Repeat("path", 20))
	cfg := spawnConfig(t, root, time.Hour)
	connect(t, cfg)
	endDaemon(t, root, syscall.SIGTERM)
	if _, err := os.Lstat(filepath.Dir(cfg.Socket)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory of the socket is still there: %v", err)
	}
}

func TestPrivateDir(t *testing.T) {
	base := t.TempDir()
	open, link := filepath.Join(base, "open"), filepath.Join(base, "link")
	if err := errors.Join(os.Mkdir(open, 0o755), os.Symlink(base, link)); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{filepath.Join(base, "new"): true, open: false, link: false} {
		if err := privateDir(dir); (err == nil) != want {
			t.Errorf("privateDir(%s) = %v", filepath.Base(dir), err)
		}
	}
}

// TestIdleGate checks against a count kept beside it that the gate closes only
// when nothing is in flight, and then for good.
func TestIdleGate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inFlight, closed, lost := 0, false, false
		g := newIdleGate(0, func() bool { return lost })
		t.Repeat(map[string]func(*rapid.T){
			"enter": func(t *rapid.T) {
				closed = closed || lost && inFlight == 0
				err := g.enter()
				if (err != nil) != closed {
					t.Fatalf("enter: %v, closed: %v", err, closed)
				}
				if err == nil {
					inFlight++
				}
			},
			"leave": func(t *rapid.T) {
				if inFlight == 0 {
					t.Skip("nothing in flight")
				}
				g.leave()
				inFlight--
			},
			"time passes": func(*rapid.T) {
				g.expire()
				closed = closed || inFlight == 0
			},
			"state goes": func(*rapid.T) { lost = true },
			"look": func(*rapid.T) {
				g.look()
				closed = closed || lost && inFlight == 0
			},
			"": func(t *rapid.T) {
				select {
				case <-g.expired:
					if !closed {
						t.Fatal("expired with requests in flight")
					}
				default:
					if closed {
						t.Fatal("not expired")
					}
				}
			},
		})
	})
}

func TestIdleGateCountsStreams(t *testing.T) {
	g := newIdleGate(0, func() bool { return false })
	err := g.stream(nil, nil, nil, func(any, grpc.ServerStream) error {
		g.expire()
		_, err := g.unary(context.Background(), nil, nil, func(context.Context, any) (any, error) { return nil, nil })
		return err
	})
	if err != nil {
		t.Errorf("closed during a stream: %v", err)
	}
	g.expire()
	if err := g.stream(nil, nil, nil, nil); err == nil {
		t.Error("open after it expired")
	}
}
