package container

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/container/machineinit"
)

type unixStat = syscall.Stat_t

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

func sameSet(got []string, want ...string) bool {
	slices.Sort(got)
	slices.Sort(want)
	return slices.Equal(got, want)
}

// bench is a backend with a pack; at the end of the test nothing may be left.
type bench struct {
	*Backend
	t    *testing.T
	pack cache.Output
}

func newBench(t *testing.T) *bench {
	t.Helper()
	init := needRuntime(t, "runc")
	s, state := newStore(t), t.TempDir()
	b := New(Config{Store: s, StateDir: state, Init: init})
	image := backendtest.Image(t, s, backendtest.ImageConfig{Entrypoint: []string{"/bin/guest", "serve", "80"}})
	pack, err := b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { wantNothingLeft(t, state) })
	return &bench{b, t, pack}
}

func (b *bench) create(spec backend.Spec) {
	b.t.Helper()
	b.t.Cleanup(func() { b.must(b.Delete(context.WithoutCancel(b.t.Context()), spec.Name)) })
	b.must(b.Create(b.t.Context(), spec, b.pack))
}

func (b *bench) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) guest(name string, args ...string) (code int, out string) {
	b.t.Helper()
	var buf bytes.Buffer
	code, err := b.Exec(b.t.Context(), name, backend.Exec{Args: append([]string{"/bin/guest"}, args...), User: "root", Stdout: &buf, Stderr: &buf})
	b.must(err)
	return code, buf.String()
}

func (b *bench) wantState(name string, want backend.State) backend.Status {
	b.t.Helper()
	st, err := b.Status(b.t.Context(), name)
	b.must(err)
	if st.State != want {
		b.t.Errorf("state is %s, want %s", st.State, want)
	}
	return st
}

func TestHalfMadeMachine(t *testing.T) {
	b := newBench(t)
	b.must(os.MkdirAll(b.file("m", "upper/x"), 0o700))
	b.must(os.MkdirAll(b.file("n", "upper"), 0o700))
	if list, err := b.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v", list, err)
	}
	b.create(backend.Spec{Name: "m"})
	b.must(b.Start(t.Context(), "m"))
	if code, _ := b.guest("m", "test", "-e", "/x"); code != 1 {
		t.Error("the machine has a file of the half-made one")
	}
	b.must(b.Delete(t.Context(), "n"))
}

// TestHostRestart ends a machine as a power cut does: the process is gone, or
// has been for so long that another has its number; the mount may be there or
// not, and the runtime's state is of the last boot.
func TestHostRestart(t *testing.T) {
	for name, damage := range map[string]func(b *bench, pid int){
		"killed": func(b *bench, pid int) {},
		"unmounted": func(b *bench, pid int) {
			b.must(unix.Unmount(b.file("m", "rootfs"), unix.MNT_DETACH))
		},
		"number taken": func(b *bench, pid int) {
			r, err := b.loadRun("m")
			b.must(err)
			r.PID = os.Getpid()
			b.must(writeState(b.file("m", "run.json"), r))
		},
		"another boot": func(b *bench, pid int) {
			r, err := b.loadRun("m")
			b.must(err)
			r.PID, r.Boot = os.Getpid(), "another"
			r.Since, _, err = processStart(r.PID)
			b.must(err)
			b.must(writeState(b.file("m", "run.json"), r))
		},
		"runtime forgot": func(b *bench, pid int) {
			b.must(os.RemoveAll(filepath.Join(b.conf.StateDir, "runtime")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.create(backend.Spec{Name: "m"})
			b.must(b.Start(t.Context(), "m"))
			b.guest("m", "write", "/kept", "x")
			pid := b.wantState("m", backend.Running).PID
			b.must(unix.Kill(pid, unix.SIGKILL))
			for exists(pid) {
				time.Sleep(5 * time.Millisecond)
			}
			damage(b, pid)
			b.wantState("m", backend.Stopped)
			b.must(b.Start(t.Context(), "m"))
			b.wantState("m", backend.Running)
			if _, out := b.guest("m", "cat", "/kept"); out != "x" {
				t.Errorf("the disk has %q", out)
			}
		})
	}
}

func exists(pid int) bool {
	_, zombie, err := processStart(pid)
	return err == nil && !zombie
}

// TestLostMachine starts a machine and forgets that it runs, as a bottlebuild
// that was killed in the middle of Start does.
func TestLostMachine(t *testing.T) {
	for name, lose := range map[string]func(b *bench){
		"before it was noted": func(b *bench) {
			r, err := b.loadRun("m")
			b.must(err)
			b.must(writeState(b.file("m", "run.json"), &run{Runtime: r.Runtime}))
		},
		"with the runtime's state": func(b *bench) {
			b.must(os.RemoveAll(filepath.Join(b.conf.StateDir, "runtime")))
			b.must(os.Remove(b.file("m", "run.json")))
		},
		"with machine.json": func(b *bench) { b.must(os.Remove(b.file("m", "machine.json"))) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, recover := range []string{"Delete", "Create", "Start"} {
				if recover == "Start" && name == "with machine.json" {
					continue // there is nothing to start
				}
				b := newBench(t)
				b.create(backend.Spec{Name: "m"})
				b.must(b.Start(t.Context(), "m"))
				pid := b.wantState("m", backend.Running).PID
				lose(b)
				switch recover {
				case "Start":
					b.must(b.Start(t.Context(), "m"))
				case "Create":
					b.must(ignoreNotExist(os.Remove(b.file("m", "machine.json"))))
					b.must(b.Create(t.Context(), backend.Spec{Name: "m"}, b.pack))
				case "Delete":
					b.must(b.Delete(t.Context(), "m"))
				}
				if exists(pid) {
					t.Errorf("after %s the old machine's process still runs", recover)
				}
			}
		})
	}
}

const createAndStartCommand = "create-and-start"

// TestKilledWhileStarting kills a process that makes and starts a machine, at
// various points, and then has another clean up.
func TestKilledWhileStarting(t *testing.T) {
	b := newBench(t)
	self, err := os.Executable()
	b.must(err)
	for i, after := range []time.Duration{10, 30, 50, 70, 90, 110, 140, 170, 200, 300} {
		cmd := exec.Command(self, createAndStartCommand, b.conf.Store.Dir(), b.conf.StateDir, b.conf.Init, b.pack.Digest.String())
		b.must(cmd.Start())
		time.Sleep(after * time.Millisecond)
		cmd.Process.Kill() // it may be done
		cmd.Wait()
		if i%2 == 0 {
			if err := b.Start(t.Context(), "m"); err != nil && !errors.Is(err, backend.ErrNotFound) {
				t.Errorf("Start after a kill at %d ms: %v", after, err)
			}
		}
		b.must(b.Delete(t.Context(), "m"))
		wantNothingLeft(t, b.conf.StateDir)
	}
}

// createAndStart is what the child of the test above does, with the arguments
// that it was given; the exit code is of no interest.
func createAndStart(dir, state, init, pack string) {
	s, err := cache.Open(dir)
	if err != nil {
		return
	}
	d, err := cache.ParseDigest(pack)
	if err != nil {
		return
	}
	b := New(Config{Store: s, StateDir: state, Init: init})
	if err := b.Create(context.Background(), backend.Spec{Name: "m"}, cache.Output{Digest: d}); err != nil {
		return
	}
	b.Start(context.Background(), "m")
}

// TestRuntimeFails: what Start made before the runtime failed is taken back.
func TestRuntimeFails(t *testing.T) {
	b := newBench(t)
	b.create(backend.Spec{Name: "m"})
	m, err := b.load("m")
	b.must(err)
	m.Document.Run.StopSignal = "SIGNOTHING"
	b.must(b.save(m))
	if err := b.Start(t.Context(), "m"); err == nil {
		t.Fatal("Start = nil")
	}
	b.wantState("m", backend.Stopped)
	if found := cgroupDirs(b.id("m")); len(found) > 0 {
		t.Errorf("left %q", found)
	}
	if _, err := os.Lstat(b.file("m", "run.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("run.json: %v", err)
	}
}

// TestHardening looks from inside at what a machine may do, and from outside at
// what bounds it.
func TestHardening(t *testing.T) {
	b := newBench(t)
	volume := t.TempDir()
	b.create(backend.Spec{Name: "m", CPUs: 1, MemoryMiB: 128, Volumes: []backend.Volume{{Host: volume, Guest: "/volume"}}})
	b.must(b.Start(t.Context(), "m"))

	_, status := b.guest("m", "cat", "/proc/self/status")
	for _, want := range []string{"NoNewPrivs:\t1\n", "Seccomp:\t2\n", "CapAmb:\t0000000000000000\n", "CapInh:\t0000000000000000\n", "CapBnd:\t00000000a00425fb\n"} {
		if !strings.Contains(status, want) {
			t.Errorf("status lacks %q:\n%s", want, status)
		}
	}
	_, mounts := b.guest("m", "cat", "/proc/mounts")
	for path, flags := range map[string][]string{
		"/": {"nodev"}, "/volume": {"nosuid", "nodev", "rw"}, "/sys": {"ro"}, "/proc/sys": {"ro"}, initPath: {"ro", "nosuid"}, "/dev/shm": {"noexec", "nodev"},
	} {
		if got := mountFlags(mounts, path); !containsAll(got, flags) {
			t.Errorf("%s is mounted %q, want %q", path, got, flags)
		}
	}
	for what, args := range map[string][]string{
		"write the init binary":   {"write", initPath, "x"},
		"write the init process":  {"write", "/proc/1/exe", "x"},
		"read the init's memory":  {"cat", "/proc/1/mem"},
		"read the init's console": {"cat", "/proc/1/fd/1"},
		"open the console's file": {"append", "/proc/1/fd/1", "x"},
		"write to sysrq":          {"write", "/proc/sysrq-trigger", "h"},
		"write a sysctl":          {"write", "/proc/sys/kernel/core_pattern", "|/x"},
		"set a cgroup":            {"write", "/sys/fs/cgroup/memory/memory.limit_in_bytes", "-1"},
	} {
		if code, out := b.guest("m", args...); code == 0 {
			t.Errorf("root in the machine can %s: %s", what, out)
		}
	}
	want := map[string]string{"memory": "134217728", "cpu": "100000", "pids": strconv.Itoa(PIDsLimit)}
	if diff := cmp.Diff(want, cgroupLimits(t, b.id("m"))); diff != "" {
		t.Errorf("cgroup limits (-want +got):\n%s", diff)
	}
}

func mountFlags(mounts, path string) []string {
	for line := range strings.Lines(mounts) {
		if f := strings.Fields(line); len(f) > 3 && f[1] == path {
			return strings.Split(f[3], ",")
		}
	}
	return nil
}

func containsAll(set, want []string) bool {
	for _, w := range want {
		if !slices.Contains(set, w) {
			return false
		}
	}
	return true
}

// cgroupLimits reads the limits from the kernel, of either version of cgroups.
func cgroupLimits(t *testing.T, id string) map[string]string {
	t.Helper()
	got := map[string]string{}
	for _, dir := range cgroupDirs(id) {
		for file, name := range map[string]string{
			"memory.limit_in_bytes": "memory", "memory.max": "memory", "cpu.cfs_quota_us": "cpu", "cpu.max": "cpu", "pids.max": "pids",
		} {
			if b, err := os.ReadFile(filepath.Join(dir, file)); err == nil {
				got[name], _, _ = strings.Cut(strings.TrimSpace(string(b)), " ")
			}
		}
	}
	return got
}

// TestPublishedPortTaken: a port that is in use fails the start, which leaves
// nothing, and names the port.
func TestPublishedPortTaken(t *testing.T) {
	b := newBench(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	b.must(err)
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	b.create(backend.Spec{Name: "m", Ports: []backend.Port{{Host: port, Guest: 80}}})
	if err := b.Start(t.Context(), "m"); err == nil || !strings.Contains(err.Error(), strconv.Itoa(port)) {
		t.Errorf("Start = %v, want an error that names port %d", err, port)
	}
	b.wantState("m", backend.Stopped)
	l.Close()
	b.must(b.Start(t.Context(), "m"))
	for { // the image's server may not be up yet
		conn, err := net.Dial("tcp", l.Addr().String())
		b.must(err)
		_, err = conn.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		b.must(err)
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if bytes.Contains(answer, []byte("hello from m")) {
			return
		}
	}
}

// TestConsoleIsBounded has the image's command write more than a console holds.
func TestConsoleIsBounded(t *testing.T) {
	b := newBench(t)
	image := backendtest.Image(t, b.conf.Store, backendtest.ImageConfig{
		Entrypoint: []string{"/bin/guest", "yes", strconv.Itoa(3 * machineinit.MaxConsole)},
	})
	var err error
	b.pack, err = b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform, Log: t.Output()})
	b.must(err)
	b.create(backend.Spec{Name: "m"})
	b.must(b.Start(t.Context(), "m"))
	for {
		tail, err := b.Log(t.Context(), "m", 1000)
		b.must(err)
		fi, err := os.Stat(b.file("m", "console.log"))
		b.must(err)
		if fi.Size() > machineinit.MaxConsole {
			t.Fatalf("the console has %d bytes, over %d", fi.Size(), machineinit.MaxConsole)
		}
		if strings.Contains(string(tail), "ended with exit code 0") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	all, err := b.Log(t.Context(), "m", 1<<30)
	b.must(err)
	if len(all) < machineinit.MaxConsole/4 {
		t.Errorf("only %d bytes of the console are left", len(all))
	}
}
