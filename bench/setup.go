package main

import (
	"bufio"
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// bench holds the programs and the temporary directory. A BuildKit is started
// in it when a row first needs one.
type bench struct {
	dir                      string
	bottlebuild, buildx, own string
	docker                   string // Docker's command line, of which buildx is a plugin; empty: not on PATH
	pairs                    int
	env                      []string

	daemon    *exec.Cmd
	daemonLog bytes.Buffer
}

// warm is how often each program runs before it is measured: the first run
// makes what the later ones find, the second sees that it is settled.
const warm = 2

// builder is the name under which buildx knows the BuildKit.
const builder = "bench"

func newBench(bin, tmp string, pairs int) (*bench, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return nil, err
	}
	b := &bench{bottlebuild: filepath.Join(bin, "bottlebuild"), buildx: filepath.Join(bin, "buildx"), pairs: pairs}
	for _, p := range []string{b.bottlebuild, b.buildx} {
		if _, err := exec.LookPath(p); err != nil {
			return nil, fmt.Errorf("%w; make bench builds it", err)
		}
	}
	if b.own, err = os.Executable(); err != nil {
		return nil, err
	}
	if b.docker, err = exec.LookPath("docker"); err != nil && !errors.Is(err, exec.ErrNotFound) {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp(tmp, "bottlebench-"); err != nil {
		return nil, err
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return nil, err
	}
	// Nothing of the caller's environment changes what is measured.
	b.env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin",
		"HOME=" + b.path("home"),
		"TMPDIR=" + b.path("tmp"),
		"DOCKER_CONFIG=" + b.path("docker"),
		"BUILDX_CONFIG=" + b.path("buildx"),
		"BOTTLEBUILD_CACHE=" + b.path("cache"),
		"BOTTLEBUILD_STATE=" + b.path("state"),
	}
	for _, d := range []string{"home", "tmp", "docker/cli-plugins", "buildx"} {
		if err := os.MkdirAll(b.path(d), 0o700); err != nil {
			return nil, errors.Join(err, b.close())
		}
	}
	if err := os.Symlink(b.buildx, b.path("docker/cli-plugins/docker-buildx")); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

// command is a command that works in a directory below the temporary one.
func (b *bench) command(name, dir string, argv ...string) command {
	return command{name: name, argv: argv, dir: b.path(dir), env: b.env}
}

func (b *bench) address() string { return "unix://" + b.path("buildkit.sock") }

// runCommand is `bottlebuild run` in dir.
func (b *bench) runCommand(dir string) command {
	return b.command("bottlebuild run", dir, b.bottlebuild, "run", "--builder", b.address())
}

// bakeCommand is `docker buildx bake` in dir, or, where there is no docker, its
// plugin started by itself.
func (b *bench) bakeCommand(dir string, args ...string) command {
	c := b.pluginCommand(dir, args...)
	if b.docker != "" {
		c.name, c.argv = "docker "+c.name, append([]string{b.docker, "buildx"}, c.argv[1:]...)
	}
	return c
}

// pluginCommand is `buildx bake` in dir, without the docker before it that starts
// the plugin, which takes about as long again.
func (b *bench) pluginCommand(dir string, args ...string) command {
	argv := append([]string{b.buildx, "bake", "--builder", builder}, args...)
	return b.command(strings.Join(append([]string{"buildx bake"}, args...), " "), dir, argv...)
}

// startDaemon starts bottlebuild's own BuildKit, unless it runs, and makes it
// known to buildx.
func (b *bench) startDaemon(ctx context.Context) error {
	if b.daemon != nil {
		return nil
	}
	socket := b.path("buildkit.sock")
	cmd := exec.Command(b.bottlebuild, "buildkitd", "--root", b.path("buildkit"), "--socket", socket, "--idle", "10m")
	cmd.Env, cmd.Stdout, cmd.Stderr = b.env, &b.daemonLog, &b.daemonLog
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start BuildKit: %w", err)
	}
	b.daemon = cmd
	if err := waitSocket(ctx, socket); err != nil {
		err = errors.Join(err, b.stopDaemon()) // the log is at rest only then
		return fmt.Errorf("start BuildKit: %w\n%s", err, b.daemonLog.String())
	}
	_, err := b.command("buildx create", ".", b.buildx, "create", "--name", builder, "--driver", "remote", b.address()).run(ctx)
	return err
}

func waitSocket(ctx context.Context, path string) error {
	const patience = 30 * time.Second
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("unix", path)
		if err == nil {
			return c.Close()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no answer within %s: %w", patience, err)
		}
	}
}

// stopDaemon ends BuildKit and waits for it.
func (b *bench) stopDaemon() error {
	if b.daemon == nil {
		return nil
	}
	pid := b.daemon.Process.Pid
	kill := time.AfterFunc(stopGrace, func() { syscall.Kill(-pid, syscall.SIGKILL) })
	defer kill.Stop()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop BuildKit: %w", err)
	}
	b.daemon.Wait() // how it ends is of no account
	b.daemon = nil
	return nil
}

// close ends what was started and removes the temporary directory.
func (b *bench) close() error {
	return errors.Join(b.stopDaemon(), os.RemoveAll(b.dir))
}

// facts prints what the figures depend on.
func (b *bench) facts(ctx context.Context, w io.Writer) error {
	u, err := b.command("bottlebuild version", ".", b.bottlebuild, "version").run(ctx)
	if err != nil {
		return err
	}
	info, err := buildinfo.ReadFile(b.buildx)
	if err != nil {
		return fmt.Errorf("read version of %s: %w", b.buildx, err)
	}
	buildx := info.Main.Version
	for _, m := range info.Deps {
		if m.Path == "github.com/docker/buildx" {
			buildx = m.Version
		}
	}
	var uts syscall.Utsname
	if err := syscall.Uname(&uts); err != nil {
		return fmt.Errorf("uname: %w", err)
	}
	var release []byte
	for _, c := range uts.Release {
		if c == 0 {
			break
		}
		release = append(release, byte(c))
	}
	docker := "no docker on PATH: its plugin buildx is measured without it"
	if b.docker != "" {
		v, err := b.command("docker --version", ".", b.docker, "--version").run(ctx)
		if err != nil {
			return err
		}
		docker = strings.TrimSpace(v.output)
	}
	_, err = fmt.Fprintf(w, "%d cores, %s, Linux %s, %s\n%s; buildx %s; %s\n%d runs of each, in turns\n",
		runtime.NumCPU(), processor(), release, runtime.Version(),
		strings.Join(strings.Split(strings.TrimSpace(u.output), "\n"), ", "), buildx, docker, b.pairs)
	return err
}

// processor returns the model's name, as far as the kernel tells it.
func processor() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
