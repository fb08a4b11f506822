package container

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/machineinit"
	"bottlebuild/tasks/container/uplink"
)

// initPath is where a machine sees the init binary: below /dev, which is no part
// of its disk, so nothing of it remains there.
const initPath = "/dev/bottlebuild-init"

// initCommand leads the binary to machineinit.Main.
const initCommand = "machine-init"

// capabilities are docker's default ones less MKNOD: devices do not work on a
// machine's disk anyway.
var capabilities = []string{
	"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_NET_BIND_SERVICE",
	"CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
}

// What of /proc and /sys tells of the host or changes it, as docker and
// containerd have it.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

func (d *document) stopSignal() (unix.Signal, error) {
	name := cmp.Or(d.Run.StopSignal, "SIGTERM")
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); n != 0 {
		return n, nil
	}
	return 0, fmt.Errorf("the image's stop signal %.40q is not known", name)
}

// environ returns the machine's environment: the image's, and over it each of more.
func (m *machine) environ(more ...map[string]string) []string {
	env := map[string]string{"PATH": machineinit.DefaultPath, "HOME": machineinit.OwnHome}
	for _, e := range m.Document.Run.Env {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	maps.Copy(env, m.Spec.Env)
	maps.Copy(env, m.Spec.SecretEnv)
	for _, e := range more {
		maps.Copy(env, e)
	}
	list := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		list = append(list, name+"="+env[name])
	}
	return list
}

// process is one that the runtime starts: the init binary as root, which becomes
// what it is told to be.
func (m *machine) process(env []string, tty bool, args ...string) *specs.Process {
	return &specs.Process{
		Terminal:        tty,
		Args:            append([]string{initPath, initCommand}, args...),
		Env:             env,
		Cwd:             "/",
		NoNewPrivileges: true,
		Capabilities:    &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		Rlimits: []specs.POSIXRlimit{
			{Type: "RLIMIT_CORE"}, // the host's handler would get the dump
			openFiles(),
		},
	}
}

// openFiles bounds a process's open files as docker does, or as this process is
// bounded itself: a host may not let even root go beyond that.
func openFiles() specs.POSIXRlimit {
	l := specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Soft: 1 << 16, Hard: 1 << 20}
	var own unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &own) == nil {
		l.Hard = min(l.Hard, own.Max)
		l.Soft = min(l.Soft, l.Hard)
	}
	return l
}

// ociSpec is the runtime's configuration for a machine whose directory is dir.
func (m *machine) ociSpec(dir, cgroup string) (*specs.Spec, error) {
	stop, err := m.Document.stopSignal()
	if err != nil {
		return nil, err
	}
	run := m.Document.Run
	boot := append([]string{machineinit.Supervise, orElse(string(m.Spec.Restart), machineinit.Never), orElse(m.Spec.User, run.User), orElse(m.Spec.Workdir, run.Workdir), strconv.Itoa(int(stop))}, slices.Concat(run.Entrypoint, run.Cmd)...)
	process := m.process(m.environ(), false, boot...)
	process.OOMScoreAdj = ptr(max(machineinit.FirstScore, ownScore())) // to lower it would take a privilege
	s := &specs.Spec{
		Version:  "1.0.2", // nothing newer is used, so that older runtimes take it
		Process:  process,
		Root:     &specs.Root{Path: "rootfs"},
		Hostname: m.Spec.Name,
		Mounts:   m.mounts(dir),
		Linux: &specs.Linux{
			CgroupsPath:       cgroup,
			Resources:         m.resources(cgroups),
			Namespaces:        namespaces(),
			RootfsPropagation: "private",
			MaskedPaths:       maskedPaths,
			ReadonlyPaths:     readonlyPaths,
			// The network is the machine's own: any of its users may serve any port,
			// and ping.
			Sysctl: map[string]string{"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
		},
	}
	if s.Linux.Seccomp, err = seccomp.GetDefaultProfile(s); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w", err)
	}
	return s, nil
}

// ownScore is this process's oom_score_adj, see proc(5).
func ownScore() int {
	b, _ := os.ReadFile("/proc/self/oom_score_adj")
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func namespaces() []specs.LinuxNamespace {
	ns := []specs.LinuxNamespace{
		{Type: specs.PIDNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace},
		{Type: specs.MountNamespace}, {Type: specs.NetworkNamespace},
	}
	if _, err := os.Stat("/proc/self/ns/cgroup"); err == nil {
		ns = append(ns, specs.LinuxNamespace{Type: specs.CgroupNamespace})
	}
	return ns
}

func (m *machine) mounts(dir string) []specs.Mount {
	shm := "size=" + strconv.Itoa(m.Spec.MemoryMiB/2) + "m" // it counts as the machine's memory
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=64m"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", shm}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: initPath, Type: "bind", Source: filepath.Join(dir, "init"), Options: []string{"bind", "ro", "nosuid", "nodev"}},
	}
	for _, f := range []string{"hosts", "hostname", "resolv.conf"} {
		mounts = append(mounts, specs.Mount{
			Destination: "/etc/" + f, Type: "bind", Source: filepath.Join(dir, "etc", f), Options: []string{"bind", "nosuid", "nodev", "noexec"},
		})
	}
	for _, v := range m.Spec.Volumes {
		// Not rbind: a read-only bind mount would leave what is mounted below writable.
		options := []string{"bind", "nosuid", "nodev", "rprivate"}
		if v.ReadOnly {
			options = append(options, "ro")
		}
		mounts = append(mounts, specs.Mount{Destination: filepath.Clean(v.Guest), Type: "bind", Source: v.Host, Options: options})
	}
	return mounts
}

func (m *machine) resources(h hierarchy) *specs.LinuxResources {
	const period = 100_000 // µs
	memory := int64(m.Spec.MemoryMiB) << 20
	r := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Access: "rwm"}}, // none but those that the runtime adds
		CPU:     &specs.LinuxCPU{Quota: ptr(int64(m.Spec.CPUs) * period), Period: ptr(uint64(period))},
		Memory:  &specs.LinuxMemory{Limit: &memory},
		Pids:    &specs.LinuxPids{Limit: ptr(int64(PIDsLimit))},
	}
	if h.countSwap() {
		r.Memory.Swap = &memory // of memory and swap together: so no swap
	}
	return r
}

func ptr[T any](v T) *T { return &v }

// etcFiles are those that a machine has in place of the image's. One that reaches
// nothing has no name server either.
func etcFiles(s backend.Spec) map[string]string {
	resolv := ""
	if networked(s.Network) {
		resolv = "nameserver " + uplink.Gateway.Addr().String() + "\n"
	}
	return map[string]string{
		"hostname":    s.Name + "\n",
		"hosts":       "127.0.0.1\tlocalhost " + s.Name + "\n::1\tlocalhost ip6-localhost ip6-loopback\n",
		"resolv.conf": resolv,
	}
}
