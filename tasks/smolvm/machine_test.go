package smolvm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/smolvm/sidecar"
)

func TestNetworkArgs(t *testing.T) {
	port := []backend.Port{{Host: 1, Guest: 2}}
	for name, tc := range map[string]struct {
		spec backend.Spec
		want []string
	}{
		"none":           {backend.Spec{}, nil},
		"empty":          {backend.Spec{Network: &backend.Network{}}, nil},
		"empty lists":    {backend.Spec{Network: &backend.Network{AllowHosts: []string{}, AllowCIDRs: []string{}}}, nil},
		"open":           {backend.Spec{Network: &backend.Network{Open: true}}, []string{"--net"}},
		"lists":          {backend.Spec{Network: &backend.Network{AllowHosts: []string{"a", "b"}, AllowCIDRs: []string{"10.0.0.0/8"}}}, []string{"--allow-host", "a", "--allow-host", "b", "--allow-cidr", "10.0.0.0/8"}},
		"port":           {backend.Spec{Ports: port}, []string{"--allow-cidr", nowhere}},
		"port and empty": {backend.Spec{Ports: port, Network: &backend.Network{}}, []string{"--allow-cidr", nowhere}},
		"port and host":  {backend.Spec{Ports: port, Network: &backend.Network{AllowHosts: []string{"a"}}}, []string{"--allow-host", "a"}},
		"port and open":  {backend.Spec{Ports: port, Network: &backend.Network{Open: true}}, []string{"--net"}},
	} {
		if diff := cmp.Diff(tc.want, networkArgs(tc.spec)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestCreateArgs(t *testing.T) {
	flags := flagSet{"--from": true, "--label": true}
	spec := backend.Spec{
		Name: "m", Labels: map[string]string{"b": "2", "a": "1 = x"}, CPUs: 4, MemoryMiB: 8192, StorageGiB: 30,
		Env: map[string]string{"B": "b=c", "A": ""}, Ports: []backend.Port{{Host: 8080, Guest: 80}},
		Volumes: []backend.Volume{{Host: "/h", Guest: "/g"}, {Host: "/i", Guest: "/j", ReadOnly: true}},
		Network: &backend.Network{AllowHosts: []string{"example.com"}},
	}
	want := []string{"machine", "create", "--name", "m", "--from", "/s", "--label", "a=1 = x", "--label", "b=2", "--cpus", "4", "--mem", "8192",
		"--storage", "30", "-e", "A=", "-e", "B=b=c", "-p", "8080:80", "-v", "/h:/g", "-v", "/i:/j:ro", "--allow-host", "example.com"}
	for _, tc := range []struct {
		pack sidecar.Manifest
		fix  []string
	}{
		{sidecar.Manifest{CPUs: 4, Mem: 8192}, nil},
		{sidecar.Manifest{CPUs: 2, Mem: 8192}, []string{"machine", "update", "--name", "m", "--cpus", "4"}},
		{sidecar.Manifest{CPUs: 2, Mem: 4096}, []string{"machine", "update", "--name", "m", "--cpus", "4", "--mem", "8192"}},
	} {
		args, fix, err := createArgs(spec, tc.pack, "/s", flags)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, args); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(tc.fix, fix); diff != "" {
			t.Errorf("pack of %d CPUs and %d MiB (-want +got):\n%s", tc.pack.CPUs, tc.pack.Mem, diff)
		}
	}
	if _, _, err := createArgs(spec, sidecar.Manifest{}, "/s", flagSet{"--from": true}); !errors.Is(err, backend.ErrUnsupported) {
		t.Errorf("without --label: %v", err)
	}
}

func TestValidate(t *testing.T) {
	b := New(Config{})
	for name, spec := range map[string]backend.Spec{
		"two hyphens":       {Name: "a--b"},
		"too many CPUs":     {Name: "a", CPUs: 256},
		"port 0":            {Name: "a", Ports: []backend.Port{{Host: 0, Guest: 80}}},
		"port above":        {Name: "a", Ports: []backend.Port{{Host: 80, Guest: 65536}}},
		"port twice":        {Name: "a", Ports: []backend.Port{{Host: 80, Guest: 80}, {Host: 80, Guest: 81}}},
		"colon in volume":   {Name: "a", Volumes: []backend.Volume{{Host: "/a:b", Guest: "/c"}}},
		"host like a flag":  {Name: "a", Network: &backend.Network{AllowHosts: []string{"--net"}}},
		"empty host":        {Name: "a", Network: &backend.Network{AllowHosts: []string{""}}},
		"no CIDR":           {Name: "a", Network: &backend.Network{AllowCIDRs: []string{"10.0.0.0/33"}}},
		"open with a list":  {Name: "a", Network: &backend.Network{Open: true, AllowHosts: []string{"a"}}},
		"label like a flag": {Name: "a", Labels: map[string]string{"--net": ""}},
	} {
		if err := b.Validate(spec); !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", name, err)
		}
	}
	err := b.Validate(backend.Spec{Name: "A", CPUs: -1})
	if err == nil || !strings.Contains(err.Error(), "machine name") || !strings.Contains(err.Error(), "cpus") {
		t.Errorf("error = %v, want all that is wrong", err)
	}
}

// guestPack packs an image with the suite's guest program.
func (r *rig) guestPack(t *testing.T) cache.Output {
	t.Helper()
	pack, err := r.Pack(t.Context(), backend.PackRequest{Image: backendtest.Image(t, r.store, backendtest.ImageConfig{}), Platform: backendtest.Platform})
	if err != nil {
		t.Fatal(err)
	}
	return pack
}

func (r *rig) mustCreate(t *testing.T, spec backend.Spec, pack cache.Output) {
	t.Helper()
	if err := r.Create(t.Context(), spec, pack); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := r.Delete(ctx, spec.Name); err != nil {
			t.Error(err)
		}
	})
}

// with returns a rig over the same directories and another fault.
func (r *rig) with(t *testing.T, fault string) *rig {
	t.Helper()
	return newRig(t, settings{fault: fault, store: r.store, state: r.state})
}

func (r *rig) smallPack(t *testing.T) cache.Output {
	t.Helper()
	pack, err := r.Pack(t.Context(), r.small(t))
	if err != nil {
		t.Fatal(err)
	}
	return pack
}

// TestVersions takes a machine through its life with every version at which the
// driver does things differently.
func TestVersions(t *testing.T) {
	for _, v := range []string{"1.8.1", "1.9.3", "1.13.0", "1.17.0", newest} {
		t.Run(v, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{version: v})
			r.mustCreate(t, backend.Spec{Name: "m", Env: map[string]string{"M": "machine"}}, r.guestPack(t))
			if err := r.Start(t.Context(), "m"); err != nil {
				t.Fatal(err)
			}
			f := backend.File{Path: "/home/node/a/b", Content: []byte("text"), Mode: 0o640, Owner: "node"}
			if err := r.CopyIn(t.Context(), "m", f); err != nil {
				t.Fatal(err)
			}
			for _, tc := range []struct {
				e    backend.Exec
				want string
			}{
				{backend.Exec{Args: []string{"id"}}, "uid=1000 gid=1000 "},
				{backend.Exec{Args: []string{"id"}, User: "root"}, "uid=0 gid=0 "},
				{backend.Exec{Args: []string{"id"}, User: "node:staff"}, "uid=1000 gid=50 "},
				{backend.Exec{Args: []string{"id"}, User: "1000"}, "uid=1000 gid=1000 "},
				{backend.Exec{Args: []string{"env", "M", "IMAGE", "HOME"}, User: "node"}, "M=machine\nIMAGE=image\nHOME=/home/node\n"},
				{backend.Exec{Args: []string{"env", "S"}, SecretEnv: map[string]string{"S": "s3cret"}}, "S=s3cret\n"},
				{backend.Exec{Args: []string{"stat", "/home/node/a/b"}, User: "root"}, "-rw-r----- 1000:1000 4\n"},
				{backend.Exec{Args: []string{"cat"}, Stdin: strings.NewReader("through"), User: "node"}, "through"},
			} {
				var out, errs strings.Builder
				tc.e.Stdout, tc.e.Stderr = &out, &errs
				code, err := r.Exec(t.Context(), "m", tc.e)
				if err != nil || code != 0 || !strings.HasPrefix(out.String(), tc.want) {
					t.Errorf("%q as %q: %d, %v, %q, %q; want %q", tc.e.Args, tc.e.User, code, err, &out, &errs, tc.want)
				}
			}
			var errs strings.Builder
			code, err := r.Exec(t.Context(), "m", backend.Exec{Args: []string{"id"}, User: "stranger", Stderr: &errs})
			if code == 0 && err == nil || err == nil && !strings.Contains(errs.String(), "stranger") {
				t.Errorf("as an unknown user: %d, %v, %q", code, err, &errs)
			}
			for _, c := range r.calls(t, "machine") {
				if strings.Contains(strings.Join(c.Args, " "), "s3cret") {
					t.Errorf("the secret stands in %q", c.Args)
				}
				if c.Dir != "/" {
					t.Errorf("%q was run in %s", c.Args, c.Dir)
				}
			}
			if err := r.Stop(t.Context(), "m"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestNoNetworkFlag(t *testing.T) {
	r := newRig(t, settings{})
	r.mustCreate(t, backend.Spec{Name: "m", Network: &backend.Network{}}, r.smallPack(t))
	c := r.calls(t, "machine", "create")
	if len(c) != 1 {
		t.Fatalf("calls: %q", c)
	}
	for _, a := range c[0].Args {
		if strings.HasPrefix(a, "--net") || strings.HasPrefix(a, "--allow") {
			t.Errorf("%s in %q", a, c[0].Args)
		}
	}
}

func TestDefaultNumbersArePutRight(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.repack(t, r.smallPack(t), func(m *sidecar.Manifest) { m.CPUs, m.Mem = 2, 1024 })
	r.mustCreate(t, backend.Spec{Name: "m", CPUs: 4, MemoryMiB: 8192}, pack)
	st, err := r.Status(t.Context(), "m")
	if err != nil || st.CPUs != 4 || st.MemoryMiB != 8192 {
		t.Errorf("Status = %+v, %v", st, err)
	}
}

// repack puts a pack with another manifest into the store.
func (r *rig) repack(t *testing.T, pack cache.Output, change func(*sidecar.Manifest)) cache.Output {
	t.Helper()
	f, err := os.Open(r.store.BlobPath(pack.Digest))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	s, err := sidecar.Open(f, fi.Size())
	if err != nil {
		t.Fatal(err)
	}
	change(&s.Manifest)
	w, err := r.store.NewBlob()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := sidecar.Write(w, s.Assets(), s.Manifest); err != nil {
		t.Fatal(err)
	}
	d, err := w.Commit(cache.Digest{})
	if err != nil {
		t.Fatal(err)
	}
	return cache.Output{Digest: d, Blobs: []cache.Blob{{Name: sidecarBlob, Digest: d, Size: w.Size()}}, Attrs: pack.Attrs}
}

func TestOpenPackIsRefused(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.repack(t, r.smallPack(t), func(m *sidecar.Manifest) { m.Network = true })
	if err := r.CheckPack(t.Context(), pack); err == nil || !strings.Contains(err.Error(), "network") {
		t.Errorf("CheckPack = %v", err)
	}
	if err := r.Create(t.Context(), backend.Spec{Name: "m"}, pack); err == nil || !strings.Contains(err.Error(), "network") {
		t.Errorf("Create = %v", err)
	}
	if c := r.calls(t, "machine", "create"); len(c) != 0 {
		t.Errorf("smolvm was asked to make it: %q", c)
	}
}

func TestDamagedPackIsRefused(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	f, err := os.OpenFile(r.store.BlobPath(pack.Digest), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0}, 20); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := r.Create(t.Context(), backend.Spec{Name: "m"}, pack); !errors.Is(err, cache.ErrDamaged) {
		t.Errorf("Create = %v, want ErrDamaged", err)
	}
	if c := r.calls(t, "machine", "create"); len(c) != 0 {
		t.Errorf("smolvm was asked to make it: %q", c)
	}
	if left, err := os.ReadDir(filepath.Join(r.cfg.StateDir, "machines")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestPackOutlivesTheStore has the store drop a pack that a machine was made from.
func TestPackOutlivesTheStore(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	r.mustCreate(t, backend.Spec{Name: "m"}, pack)
	a, err := os.Stat(r.store.BlobPath(pack.Digest))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.Stat(filepath.Join(r.machineDir("m"), sidecarFile))
	if err != nil || !os.SameFile(a, b) {
		t.Errorf("the machine's pack takes room of its own: %v", err)
	}
	if err := os.Remove(r.store.BlobPath(pack.Digest)); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), "m"); err != nil {
		t.Error(err)
	}
	if err := r.Delete(t.Context(), "m"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.machineDir("m")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the machine's directory after Delete: %v", err)
	}
}

func TestPlaceCopiesAcrossFileSystems(t *testing.T) {
	store := openStore(t)
	d, err := store.PutBytes([]byte("content"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/dev/shm", "smolvm-test")
	if err != nil {
		backendtest.Missing(t, "a second file system at /dev/shm: %v", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "copy")
	if err := place(t.Context(), store, d, path); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "content" {
		t.Errorf("copy = %q, %v", b, err)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	if err := r.with(t, "create:fail-late").Create(t.Context(), backend.Spec{Name: "m"}, pack); err == nil {
		t.Fatal("Create = nil")
	}
	if _, err := r.Status(t.Context(), "m"); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Status = %v, want ErrNotFound", err)
	}
	if left, err := os.ReadDir(filepath.Join(r.cfg.StateDir, "machines")); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	r.mustCreate(t, backend.Spec{Name: "m"}, pack)
}

func TestStartFails(t *testing.T) {
	r := newRig(t, settings{})
	r.mustCreate(t, backend.Spec{Name: "m"}, r.smallPack(t))
	broken := r.with(t, "start:broken")
	if err := broken.Start(t.Context(), "m"); err == nil || !strings.Contains(err.Error(), "start machine") {
		t.Errorf("Start = %v", err)
	}
	if n := len(broken.calls(t, "machine", "start")); n != 2 {
		t.Errorf("%d tries, want 2", n)
	}
	if st, err := r.Status(t.Context(), "m"); err != nil || st.State != backend.Broken {
		t.Errorf("Status = %+v, %v", st, err)
	}
	if err := r.with(t, "start:broken-once").Start(t.Context(), "m"); err != nil {
		t.Errorf("Start that fails once: %v", err)
	}
}

func TestPortInUse(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	port := []backend.Port{{Host: 39177, Guest: 80}}
	r.mustCreate(t, backend.Spec{Name: "a", Ports: port}, pack)
	r.mustCreate(t, backend.Spec{Name: "b", Ports: port}, pack)
	if err := r.Start(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if err := r.Start(t.Context(), "b"); err == nil || !strings.Contains(err.Error(), "host port 39177 is already in use by running machine 'a'") {
		t.Errorf("Start = %v", err)
	}
}

func TestDeleteRetries(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	r.mustCreate(t, backend.Spec{Name: "m"}, pack)
	once := r.with(t, "delete:notempty-once")
	if err := once.Delete(t.Context(), "m"); err != nil {
		t.Errorf("Delete that fails once: %v", err)
	}
	r.mustCreate(t, backend.Spec{Name: "n"}, pack)
	always := r.with(t, "delete:notempty")
	if err := always.Delete(t.Context(), "n"); err == nil || !strings.Contains(err.Error(), "Directory not empty") {
		t.Errorf("Delete = %v", err)
	}
	if n := len(always.calls(t, "machine", "delete")); n != deleteTries {
		t.Errorf("%d tries, want %d", n, deleteTries)
	}
}

// TestStates also has a state that is not known yet.
func TestStates(t *testing.T) {
	r := newRig(t, settings{})
	r.mustCreate(t, backend.Spec{Name: "m"}, r.smallPack(t))
	for state, want := range map[string]backend.State{
		"created": backend.Created, "running": backend.Running, "stopped": backend.Stopped,
		"failed": backend.Broken, "unreachable": backend.Broken, "frozen": backend.Frozen, "hibernating": backend.Frozen,
	} {
		if st, err := r.with(t, "state:"+state).Status(t.Context(), "m"); err != nil || st.State != want {
			t.Errorf("%s: %+v, %v", state, st, err)
		}
	}
	frozen := r.with(t, "state:frozen")
	for op, err := range map[string]error{
		"Start": frozen.Start(t.Context(), "m"), "Stop": frozen.Stop(t.Context(), "m"), "Delete": frozen.Delete(t.Context(), "m"),
	} {
		if err == nil || !strings.Contains(err.Error(), "frozen") {
			t.Errorf("%s of a frozen machine = %v", op, err)
		}
	}
	if c := slices.Concat(frozen.calls(t, "machine", "start"), frozen.calls(t, "machine", "stop"), frozen.calls(t, "machine", "delete")); len(c) != 0 {
		t.Errorf("a frozen machine was touched: %q", c)
	}
}

// TestStranger has a machine that somebody else made.
func TestStranger(t *testing.T) {
	r := newRig(t, settings{})
	pack := r.smallPack(t)
	if _, err := r.call(t.Context(), "machine", "create", "--name", "theirs", "--from", r.store.BlobPath(pack.Digest)); err != nil {
		t.Fatal(err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
	if err := r.Delete(t.Context(), "theirs"); err == nil {
		t.Error("Delete removed somebody else's machine")
	}
	if _, err := r.Exec(t.Context(), "theirs", backend.Exec{Args: []string{"true"}}); err == nil || !strings.Contains(err.Error(), "record") {
		t.Errorf("Exec = %v", err)
	}
	if err := r.Create(t.Context(), backend.Spec{Name: "theirs"}, pack); err == nil {
		t.Error("Create replaced somebody else's machine")
	}
	if _, err := r.Status(t.Context(), "theirs"); err != nil {
		t.Error(err)
	}
}
