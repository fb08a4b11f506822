package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/moby/sys/mountinfo"
	"github.com/vishvananda/netlink"
)

// place is where TestKilled works: a directory with a bottle file, and a cache and
// state that every kill finds anew.
type place struct {
	t       *testing.T
	dir     string
	machine string
	ports   [2]string
	other   string // what ps says of the machine of somebody else's
}

// The bottle files, which differ in whether the machine is tested after its boot.
const (
	tested   = "bottles.hcl"
	untested = "untested.hcl"
)

const killedFile = `image "tiny" { context = "tiny" }
bottle "tiny" {
  image   = image.tiny
  backend = "container"
  pack {}
  machine {
    name   = "%s"
    # It takes most of a run, so that few kills would come earlier.
    self_test = %t
    cpus   = 1
    memory = "64MiB"
    network { allow_cidrs = ["192.0.2.1/32"] }
    port {
      host  = %s
      guest = 80
    }
  }
}
`

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{t: t, dir: t.TempDir(), machine: fmt.Sprintf("killed-%d", os.Getpid())}
	var listeners [2]net.Listener // both at once, so that they are two ports
	for i := range listeners {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		p.check(err)
		listeners[i] = l
		_, p.ports[i], _ = net.SplitHostPort(l.Addr().String())
	}
	for _, l := range listeners {
		l.Close()
	}
	for i, sub := range []string{"", "other"} {
		dir := filepath.Join(p.dir, sub)
		p.check(os.MkdirAll(filepath.Join(dir, "tiny"), 0o700))
		p.check(os.MkdirAll(filepath.Join(dir, "tmp"), 0o700))
		p.check(os.WriteFile(filepath.Join(dir, "tiny/Dockerfile"), []byte("FROM scratch\nCOPY file /\n"), 0o600))
		p.check(os.WriteFile(filepath.Join(dir, "tiny/file"), []byte("x"), 0o600))
		for file, test := range map[string]bool{tested: true, untested: false} {
			p.check(os.WriteFile(filepath.Join(dir, file), fmt.Appendf(nil, killedFile, p.machine, test, p.ports[i]), 0o600))
		}
	}
	t.Cleanup(func() {
		p.command("down", "--all").Run()
		p.otherCommand("down", "--all").Run()
		p.stopDaemons()
	})
	p.succeed("run", tested, "image.tiny")
	p.stopDaemons()
	p.check(os.RemoveAll(p.path(".cache/buildkit")))
	p.check(os.Rename(p.path(".cache"), p.path("template")))
	p.copyTemplate("other/.cache")
	if out, err := p.otherCommand("run", tested).CombinedOutput(); err != nil {
		t.Fatalf("run: %v\n%s", err, out)
	}
	p.other = p.otherStatus()
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func (p *place) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) stopDaemons() {
	for _, pid := range daemonsBelow(p.dir) {
		syscall.Kill(pid, syscall.SIGTERM)
		for syscall.Kill(pid, 0) == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

func (p *place) command(args ...string) *exec.Cmd { return p.commandIn("", args...) }

// otherCommand is a command of somebody else's.
func (p *place) otherCommand(args ...string) *exec.Cmd { return p.commandIn("other", args...) }

func (p *place) commandIn(sub string, args ...string) *exec.Cmd {
	dir := filepath.Join(p.dir, sub)
	cmd := exec.Command(filepath.Join(tools, "bottlebuild"), args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "HOME=" + filepath.Join(dir, "home"), "TMPDIR=" + filepath.Join(dir, "tmp"),
		"BOTTLEBUILD_CACHE=" + filepath.Join(dir, ".cache"), "BOTTLEBUILD_STATE=" + filepath.Join(dir, ".state"),
	}
	return cmd
}

// succeed runs a command that has to, and returns how long it took.
func (p *place) succeed(args ...string) time.Duration {
	p.t.Helper()
	start := time.Now()
	if out, err := p.command(args...).CombinedOutput(); err != nil {
		p.t.Fatalf("bottlebuild %q: %v\n%s", args, err, out)
	}
	return time.Since(start)
}

// reset makes the cache one in which the image is built and nothing is packed.
func (p *place) reset() {
	p.t.Helper()
	p.check(os.RemoveAll(p.path(".cache")))
	p.check(os.RemoveAll(p.path(".state")))
	p.copyTemplate(".cache")
}

func (p *place) copyTemplate(to string) {
	p.t.Helper()
	p.check(os.CopyFS(p.path(to), os.DirFS(p.path("template"))))
	p.check(os.Chmod(p.path(to), 0o700))
}

func (p *place) otherStatus() string {
	p.t.Helper()
	out, err := p.otherCommand("ps", "--json").Output()
	p.check(err)
	return string(out)
}

func (p *place) wantRunning() {
	p.t.Helper()
	out, err := p.command("ps", "--json").Output()
	if err != nil || !strings.Contains(string(out), `"state": "running"`) {
		p.t.Fatalf("the machine does not run: %v\n%s", err, out)
	}
}

// wantOther wants the machine of somebody else's to run as before.
func (p *place) wantOther() {
	p.t.Helper()
	if now := p.otherStatus(); now != p.other {
		p.t.Fatalf("the machine of somebody else's was\n%s, and now is\n%s", p.other, now)
	}
}

// stage tells how far a run had come when it was killed.
func (p *place) stage() string {
	has := func(pattern string) bool {
		found, _ := filepath.Glob(p.path(pattern))
		return len(found) > 0
	}
	machine := ".state/machines/machines/" + p.machine
	switch {
	case has(machine + "/pid"):
		return "starting a booted machine"
	case has(machine + "/run.json"):
		return "booting"
	case has(machine):
		return "creating"
	case has(".cache/rootfs/*.partial"):
		return "unpacking"
	case has(".cache/rootfs/*"):
		return "packed"
	case has(".cache/rootfs"):
		return "packing"
	}
	return "planning"
}

// left is everything that a run could have left behind, and what of somebody
// else's is like it.
func (p *place) left() map[string][]string {
	p.t.Helper()
	left := map[string][]string{"processes": p.processes()}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(p.dir))
	p.check(err)
	for _, m := range mounts {
		left["mounts"] = append(left["mounts"], m.Mountpoint)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/bottlebuild/", "/sys/fs/cgroup/*/bottlebuild/"} {
		found, _ := filepath.Glob(pattern + p.machine + ".*")
		left["cgroups"] = append(left["cgroups"], found...)
	}
	links, err := netlink.LinkList()
	p.check(err)
	for _, l := range links {
		left["interfaces"] = append(left["interfaces"], l.Attrs().Name)
	}
	nft, err := nftables.New()
	p.check(err)
	tables, err := nft.ListTables()
	p.check(err)
	for _, t := range tables {
		left["tables"] = append(left["tables"], t.Name)
	}
	unix, err := os.ReadFile("/proc/net/unix")
	p.check(err)
	for line := range strings.Lines(string(unix)) {
		if strings.Contains(line, p.dir) {
			left["sockets"] = append(left["sockets"], line)
		}
	}
	if l, err := net.Listen("tcp4", "127.0.0.1:"+p.ports[0]); err == nil {
		l.Close()
	} else {
		left["sockets"] = append(left["sockets"], err.Error())
	}
	for _, sub := range []string{".cache", ".state", "tmp"} {
		if _, err := os.Lstat(p.path(sub)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		p.check(filepath.WalkDir(p.path(sub), func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if path == p.path(".state/runs") { // one file for each run, whatever became of it
				return fs.SkipDir
			}
			left["files"] = append(left["files"], strings.TrimPrefix(path, p.dir))
			return nil
		}))
	}
	return left
}

// processes are those of bottlebuild, of the runtime and of machines.
func (p *place) processes() (list []string) {
	dirs, err := filepath.Glob("/proc/[0-9]*")
	p.check(err)
	for _, dir := range dirs {
		cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		if len(cmdline) == 0 { // it has ended, and its parent has not looked yet
			continue
		}
		cgroup, _ := os.ReadFile(filepath.Join(dir, "cgroup"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		exe, _ := os.Readlink(filepath.Join(dir, "exe"))
		for _, s := range []string{string(cmdline), cwd, exe} {
			if strings.Contains(s, p.dir) || strings.Contains(s, tools) || strings.Contains(string(cgroup), "/bottlebuild/"+p.machine+".") {
				list = append(list, fmt.Sprintf("%s %q", filepath.Base(dir), cmdline))
				break
			}
		}
	}
	slices.Sort(list)
	return list
}
