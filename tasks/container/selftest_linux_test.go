package container

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/registry"
	"bottlebuild/tasks/selftest"
)

// The environment variable marks the process that is in a network of its own.
const (
	selfTestVariable = "CONTAINER_SELFTEST"
	selfTestAddress  = "203.0.113.5" // the host's, in a network of the test's own
)

// TestSelfTest runs in a network of its own, so that nothing else is reached
// whatever a machine may reach.
func TestSelfTest(t *testing.T) {
	init := needRuntime(t, "runc")
	if os.Getenv(selfTestVariable) == "" {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestSelfTest$", "-test.v")
		cmd.Env = append(os.Environ(), selfTestVariable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	ip := net.ParseIP(selfTestAddress)
	err = errors.Join(
		netlink.LinkSetUp(lo),
		netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Src: ip}),
	)
	if err != nil {
		t.Fatal(err)
	}
	store := newStore(t)
	b := New(Config{Store: store, StateDir: t.TempDir(), Runtime: "runc", Init: init})
	image := backendtest.Image(t, store, backendtest.ImageConfig{Layers: [][]byte{backendtest.NewTar(t).File("opt/app/version", 0o644, "1").Bytes()}})
	manifest, _ := image.Blob("manifest")
	img, err := registry.Image(store, manifest)
	if err != nil {
		t.Fatal(err)
	}
	samples, err := selftest.Sample(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	pack, err := b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform})
	if err != nil {
		t.Fatal(err)
	}
	for name, network := range map[string]*backend.Network{
		"none":  nil,
		"hosts": {AllowHosts: []string{"*.invalid"}},
		"cidrs": {AllowCIDRs: []string{"192.0.2.0/24"}},
		"own":   {AllowCIDRs: []string{selfTestAddress + "/32"}},
		"open":  {Open: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := backend.Spec{Name: "selftest-" + name, Env: map[string]string{"A": "b=c"}, User: "node", Workdir: "/home/node", Network: network}
			defer func() {
				if err := b.Delete(t.Context(), spec.Name); err != nil {
					t.Error(err)
				}
			}()
			if err := b.Create(t.Context(), spec, pack); err != nil {
				t.Fatal(err)
			}
			if err := b.Start(t.Context(), spec.Name); err != nil {
				t.Fatal(err)
			}
			m := selftest.Machine{
				Name: spec.Name, Arch: runtime.GOARCH, Env: spec.Env, User: spec.User, Workdir: spec.Workdir, Network: network, Samples: samples,
			}
			n, err := selftest.Run(t.Context(), b, m)
			if err != nil || n < 8 {
				t.Errorf("%d checks passed, %v", n, err)
			}
			t.Logf("%d checks passed", n)
			if name != "own" {
				return
			}
			// The same machine, had it been asked for otherwise.
			m.Samples, m.User, m.Env, m.Network = []selftest.File{{Path: "/opt/app/version"}}, "root", map[string]string{"A": "other"}, nil
			_, err = selftest.Run(t.Context(), lostEnv{b}, m)
			for _, want := range []string{"not those of its pack", "variable A reaches", "does not allow: this host, at " + selfTestAddress + " (TCP)"} {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("of another machine: %v, want an error that says %q", err, want)
				}
			}
		})
	}
}

// lostEnv drops the environment of commands.
type lostEnv struct{ *Backend }

func (l lostEnv) Exec(ctx context.Context, name string, e backend.Exec) (int, error) {
	e.Env = nil
	return l.Backend.Exec(ctx, name, e)
}
