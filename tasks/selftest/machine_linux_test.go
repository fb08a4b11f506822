package selftest

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
)

// room is a machine for these tests: a directory as its root, and a network of
// its own with nothing in it. What it does wrong is set.
type room struct {
	backend.Backend // what the self-test does not call
	t               *testing.T
	root            string

	sameNetwork bool              // it has the host's network
	env         map[string]string // that commands get instead
	user        string            // that commands run as instead
	dir         string            // that they run in instead
	noTools     bool              // files cannot be copied in
}

const roomPasswd = "root:x:0:0::/root:/bin/sh\nnode:x:1000:1000::/home/node:/bin/sh\ndaemon:x:2:2::/:/bin/false\n"

func newRoom(t *testing.T) *room {
	t.Helper()
	if os.Geteuid() != 0 {
		backendtest.Missing(t, "root is needed, for a root directory and a network of one's own")
	}
	r := &room{t: t, root: t.TempDir()}
	if err := os.Chmod(r.root, 0o755); err != nil {
		t.Fatal(err)
	}
	r.write("etc/passwd", roomPasswd)
	r.write("etc/hosts", "127.0.0.1 localhost\n")
	r.write("opt/app/version", "1\n")
	r.mkdir("home/node", 1000)
	r.mkdir("work", 0)
	r.mkdir("proc", 0)
	return r
}

func (r *room) mkdir(name string, uid int) {
	r.t.Helper()
	path := filepath.Join(r.root, name)
	if err := errors.Join(os.MkdirAll(path, 0o755), os.Chown(path, uid, uid)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) write(name, content string) {
	r.t.Helper()
	path := filepath.Join(r.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *room) CopyIn(_ context.Context, _ string, f backend.File) error {
	if r.noTools {
		return backend.ErrUnsupported
	}
	return os.WriteFile(filepath.Join(r.root, f.Path), f.Content, os.FileMode(f.Mode))
}

func (r *room) Exec(ctx context.Context, _ string, e backend.Exec) (int, error) {
	cmd := exec.CommandContext(ctx, e.Args[0], e.Args[1:]...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = e.Stdout, e.Stderr, e.Workdir
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: r.root, Credential: &syscall.Credential{}}
	if !r.sameNetwork {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	env := e.Env
	if e.User != "0" {
		env = map[string]string{"PATH": "/bin"}
		maps.Copy(env, e.Env)
		if r.env != nil {
			env = r.env
		}
		if r.dir != "" {
			cmd.Dir = r.dir
		}
		name := e.User
		if r.user != "" {
			name = r.user
		}
		uid, ok := wantedUser(parsePasswd([]byte(roomPasswd)), name)
		if !ok && name != "" {
			return 0, errors.New("no such user")
		}
		cmd.SysProcAttr.Credential.Uid = uint32(uid)
	}
	cmd.Env = []string{}
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var exit *exec.ExitError
	err := cmd.Run()
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// machine is one that the room is right for.
func machine() Machine {
	return Machine{
		Name: "m", Arch: arch, Env: map[string]string{"A": "b=c", "EMPTY": ""}, User: "node", Workdir: "/work",
		Samples: []File{{"/opt/app/version", sum("1\n")}, {"/opt/app/gone", sum("2\n")}},
	}
}

func (r *room) test(t *testing.T, m Machine) (int, error) {
	t.Helper()
	n, err := Run(t.Context(), r, m)
	left, gerr := filepath.Glob(filepath.Join(r.root, ".bottlebuild-probe-*"))
	if gerr != nil || len(left) != 0 {
		t.Errorf("left in the machine: %q, %v", left, gerr)
	}
	return n, err
}

func TestRightMachinePasses(t *testing.T) {
	r := newRoom(t)
	r.write("home/node/theirs", "x")
	if err := os.Chown(filepath.Join(r.root, "home/node/theirs"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	r.write("etc/resolv.conf", "nameserver 192.0.2.53\nnameserver ::1\n")
	n, err := r.test(t, machine())
	if err != nil || n < 15 {
		t.Errorf("%d checks, %v", n, err)
	}
	// Nothing asked for, as root, in a root directory with nothing in it.
	bare := newRoom(t)
	if err := os.RemoveAll(filepath.Join(bare.root, "etc")); err != nil {
		t.Fatal(err)
	}
	if n, err := bare.test(t, Machine{Name: "m", Arch: arch}); err != nil || n < 8 {
		t.Errorf("bare: %d checks, %v", n, err)
	}
}

func TestWrongMachineFails(t *testing.T) {
	for name, tc := range map[string]struct {
		room    func(*room)
		machine func(*Machine)
		want    []string // in what failed, in order
	}{
		"lost environment":  {func(r *room) { r.env = map[string]string{"A": "b=c"} }, nil, []string{"variable EMPTY reaches commands not at all"}},
		"other value":       {func(r *room) { r.env = map[string]string{"A": "x", "EMPTY": ""} }, nil, []string{"variable A reaches commands with another value"}},
		"other user":        {func(r *room) { r.user = "root" }, nil, []string{"as user 0, not as node (1000)"}},
		"other directory":   {func(r *room) { r.dir = "/opt" }, nil, []string{"run in /opt, not in /work"}},
		"root's file":       {func(r *room) { r.write("home/node/a/b", "x") }, nil, []string{"/home/node/a (of user 0), /home/node/a/b (of user 0)"}},
		"root's home":       {func(r *room) { r.mkdir("home/node", 0) }, nil, []string{"files in /home/node do not belong to node: /home/node (of user 0)"}},
		"used since":        {func(r *room) { r.write("home/node/a/b", "x"); r.write("opt/app/version", "2\n") }, func(m *Machine) { m.Used = true }, nil},
		"file given away":   {func(r *room) { r.write("home/node/f", "x") }, func(m *Machine) { m.Others = []string{"/home/node/f"} }, nil},
		"another pack":      {func(r *room) { r.write("opt/app/version", "2\n") }, nil, []string{"not those of its pack: /opt/app/version"}},
		"not root by group": {nil, func(m *Machine) { m.User = "1000:50" }, nil},
		"linked directory": {func(r *room) {
			if err := os.Symlink("work", filepath.Join(r.root, "link")); err != nil {
				r.t.Fatal(err)
			}
		}, func(m *Machine) { m.Workdir = "/link" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r, m := newRoom(t), machine()
			if tc.room != nil {
				tc.room(r)
			}
			if tc.machine != nil {
				tc.machine(&m)
			}
			_, err := r.test(t, m)
			wantFailures(t, err, tc.want)
		})
	}
}

func wantFailures(t *testing.T, err error, want []string) {
	t.Helper()
	var failed *Error
	if len(want) == 0 && err == nil {
		return
	}
	if !errors.As(err, &failed) {
		t.Fatalf("error = %v, want failures %q", err, want)
	}
	for i, f := range failed.Failed {
		if i >= len(want) || !strings.Contains(f.Text, want[i]) {
			t.Errorf("failed: %s", f.Text)
		}
		if f.Advice == "" {
			t.Errorf("no advice for: %s", f.Text)
		}
	}
	if len(failed.Failed) < len(want) {
		t.Errorf("failures: %v, want %q", failed, want)
	}
	if !strings.Contains(err.Error(), "self_test = false") {
		t.Errorf("the error does not say how to do without: %v", err)
	}
}

// TestValuesAreNotShown has a machine that loses a variable.
func TestValuesAreNotShown(t *testing.T) {
	r, m := newRoom(t), machine()
	r.env = map[string]string{}
	m.Env = map[string]string{"TOKEN": "t0ps3cret"}
	if _, err := r.test(t, m); err == nil || strings.Contains(err.Error(), "t0ps3cret") {
		t.Errorf("error = %v, want one without the value", err)
	}
}

func TestImpossible(t *testing.T) {
	r, m := newRoom(t), machine()
	r.noTools = true
	if _, err := r.test(t, m); !errors.Is(err, ErrImpossible) {
		t.Errorf("error = %v, want ErrImpossible", err)
	}
	m.Arch = "mips"
	if _, err := r.test(t, m); !errors.Is(err, ErrImpossible) {
		t.Errorf("error = %v, want ErrImpossible", err)
	}
}

// TestProbeLooks has the probe read and walk what is hard to.
func TestProbeLooks(t *testing.T) {
	r := newRoom(t)
	deep := "home/node" + strings.Repeat("/d", 100)
	r.mkdir(deep, 1000)
	for i := range 40 {
		r.write("home/node/many/"+strconv.Itoa(i), "x")
	}
	r.write("big", strings.Repeat("x", 100_000))
	p, err := place(t.Context(), r, machine())
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.run(t.Context(), backend.Exec{User: "0", Workdir: "/"}, "own:1000:/home/node", "own:0:/absent", "file:/big", "file:/absent", "file:/etc", "cwd:/absent")
	if err != nil {
		t.Fatal(err)
	}
	if len(a.others) != 16 {
		t.Errorf("%d files of others, want the first 16", len(a.others))
	}
	if n := len(a.files[0].content); n != 64<<10 {
		t.Errorf("%d bytes of a big file", n)
	}
	if a.files[1].errno != int(syscall.ENOENT) || a.files[2].errno != int(syscall.EISDIR) || a.sameDir {
		t.Errorf("answers = %+v", a)
	}
	var out bytes.Buffer
	for _, args := range [][]string{{"nonsense"}, {"id", "tcp"}} {
		if code, err := r.Exec(t.Context(), "m", backend.Exec{Args: append([]string{p.path}, args...), User: "0", Stdout: &out}); code != 2 || err != nil {
			t.Errorf("%q: %d, %v", args, code, err)
		}
	}
}
