package smolvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
	"bottlebuild/tasks/smolvm/sidecar"
)

// calls returns the argument lists of the fake's calls that begin so.
func (r *rig) calls(t *testing.T, prefix ...string) (list []call) {
	t.Helper()
	b, err := os.ReadFile(r.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var c call
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatal(err)
		}
		if len(c.Args) > len(prefix) && slices.Equal(c.Args[:len(prefix)], prefix) && !slices.Contains(c.Args, "--help") {
			list = append(list, c)
		}
	}
	return list
}

type call struct {
	Args   []string `json:"args"`
	Dir    string   `json:"dir"`
	TmpDir string   `json:"tmpdir"`
}

// small is a quick image of two layers, a request for which is returned.
func (r *rig) small(t *testing.T) backend.PackRequest {
	t.Helper()
	img := imageOf(t, r.store, backendtest.NewTar(t).File("a", 0o644, "a").Bytes(), backendtest.NewTar(t).File("b", 0o644, "b").Bytes())
	return backend.PackRequest{Image: cache.Output{Digest: img.manifest.Digest, Blobs: []cache.Blob{img.manifest}}, Platform: backendtest.Platform}
}

func TestPackCall(t *testing.T) {
	for _, v := range []string{"1.8.1", newest} {
		r := newRig(t, settings{version: v})
		var log bytes.Buffer
		req := r.small(t)
		req.Log = &log
		pack, err := r.Pack(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		c := r.calls(t, "pack", "create")
		if len(c) != 1 {
			t.Fatalf("calls: %q", c)
		}
		args := c[0].Args
		for _, never := range []string{"--cpus", "--mem", "--smolfile", "--single-file"} {
			if slices.Contains(args, never) {
				t.Errorf("%s in %q", never, args)
			}
		}
		ref := args[slices.Index(args, "--image")+1]
		if !strings.HasPrefix(ref, "127.0.0.1:") || !strings.Contains(ref, "@sha256:") {
			t.Errorf("reference %s", ref)
		}
		if !strings.HasPrefix(c[0].TmpDir, r.store.Dir()) || !strings.HasPrefix(c[0].Dir, r.store.Dir()) {
			t.Errorf("in %s with TMPDIR %s, want both in the store", c[0].Dir, c[0].TmpDir)
		}
		if left, err := os.ReadDir(filepath.Join(r.store.Dir(), "tmp")); err != nil || len(left) != 0 {
			t.Errorf("left in tmp: %v, %v", left, err)
		}
		if flat := pack.Attrs[attrFlattened] != ""; flat != (v == "1.8.1") {
			t.Errorf("%s: attributes %v", v, pack.Attrs)
		}
		if pack.Attrs[attrVersion] != v || pack.Attrs[attrUser] != "node" || pack.Attrs[attrConfig] == "" {
			t.Errorf("attributes %v", pack.Attrs)
		}
		if s := log.String(); !strings.Contains(s, "Booting virtual machine\n") || strings.ContainsAny(s, "\x1b\r") {
			t.Errorf("log %q", s)
		}
	}
}

func TestPackFaults(t *testing.T) {
	for fault, want := range map[string]struct {
		is   error
		text string
	}{
		"pack:fail":          {nil, "something went wrong"},
		"pack:nokvm":         {backend.ErrUnavailable, "turn on virtualisation"},
		"pack:nospace":       {syscall.ENOSPC, "No space left"},
		"pack:slowboot":      {nil, "fewer jobs at once"},
		"pack:crash":         {nil, "killed"},
		"pack:crash-half":    {nil, "killed"},
		"pack:crash-late":    {nil, "killed"},
		"pack:fail-late":     {nil, "something went wrong"},
		"pack:nospace-half":  {syscall.ENOSPC, "No space left"},
		"pack:lie":           {os.ErrNotExist, "left no sidecar"},
		"pack:garbage":       {os.ErrNotExist, "left no sidecar"},
		"pack:truncate":      {sidecar.ErrInvalid, "footer"},
		"pack:badcrc":        {sidecar.ErrInvalid, "CRC-32"},
		"pack:wrongdigest":   {sidecar.ErrInvalid, "image ID"},
		"pack:wrongplatform": {sidecar.ErrInvalid, "linux/mips"},
		"pack:network":       {sidecar.ErrInvalid, "network"},
		"pack:nothing":       {os.ErrNotExist, "left no sidecar"},
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{fault: fault})
			out, err := r.Pack(t.Context(), r.small(t))
			if err == nil {
				t.Fatalf("Pack = %+v", out)
			}
			if want.is != nil && !errors.Is(err, want.is) || !strings.Contains(err.Error(), want.text) {
				t.Errorf("error = %v, want one that is %v and says %q", err, want.is, want.text)
			}
			if left, err := os.ReadDir(filepath.Join(r.store.Dir(), "tmp")); err != nil || len(left) != 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
			if n := len(r.calls(t, "pack", "create")); (n == 2) != (fault == "pack:slowboot") {
				t.Errorf("%d calls", n)
			}
		})
	}
}

func TestPackSlowBootOnce(t *testing.T) {
	r := newRig(t, settings{fault: "pack:slowboot-once"})
	if _, err := r.Pack(t.Context(), r.small(t)); err != nil {
		t.Error(err)
	}
}

// TestPackCancelled cancels a pack whose child ignores SIGTERM.
func TestPackCancelled(t *testing.T) {
	t.Parallel()
	r := newRig(t, settings{fault: "pack:hang-late"})
	req := r.small(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := r.Pack(ctx, req)
		done <- err
	}()
	pid := r.waitHanging(t, done)
	if pid == 0 {
		return
	}
	if n := len(r.helpers(t)); n != 1 {
		t.Errorf("%d helpers, want 1", n)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Pack = %v, want context.Canceled", err)
	}
	for running(pid) || len(markedProcesses(t, r.store.Dir())) > 0 {
		time.Sleep(10 * time.Millisecond) // killed, and soon buried by its new parent
	}
	if left := r.helpers(t); len(left) != 0 {
		t.Errorf("left in smolvm's cache: %q", left)
	}
}

// helpers are the directories of machines that pack.
func (r *rig) helpers(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(machinesOf(r.cfg.Env), "*", "name"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// markedProcesses are those of packs with a store.
func markedProcesses(t *testing.T, store string) (pids []string) {
	t.Helper()
	lists, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range lists {
		if b, err := os.ReadFile(list); err == nil && bytes.Contains(b, []byte(packVariable+"="+store)) {
			pids = append(pids, filepath.Base(filepath.Dir(list)))
		}
	}
	return pids
}

// TestAbandonedPack has a bottlebuild that was killed while smolvm packed for it:
// smolvm hangs, a machine runs, and nobody is left to end them. Another one's
// pack, under way, and a machine of the user's own are not touched.
func TestAbandonedPack(t *testing.T) {
	r := newRig(t, settings{fault: "pack:hang-late"})
	abandon := func(hold bool) (pid int) {
		p, err := r.beginPack()
		if err != nil {
			t.Fatal(err)
		}
		smolvm, err := r.program(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(smolvm.path, "pack", "create", "--image", "x", "-o", filepath.Join(p.dir, "out"))
		cmd.Env = append(slices.Clone(r.cfg.Env), packVariable+"="+p.dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p.started(cmd.Process.Pid)
		done := make(chan error, 1)
		go func() { done <- cmd.Wait() }()
		if pid = r.waitHanging(t, done); pid == 0 {
			t.Fatal("it does not hang")
		}
		t.Cleanup(func() {
			p.end()
			<-done
		})
		if !hold {
			p.lock.Close()
		}
		return pid
	}
	theirs := filepath.Join(machinesOf(r.cfg.Env), "0123456789abcdef")
	if err := errors.Join(os.MkdirAll(theirs, 0o755), os.WriteFile(filepath.Join(theirs, "name"), []byte("pack-1-1"), 0o644)); err != nil {
		t.Fatal(err)
	}
	alive, dead := abandon(true), abandon(false)
	if n := len(r.helpers(t)); n != 3 {
		t.Fatalf("%d machines, want 3", n)
	}
	next := r.with(t, "")
	if _, err := next.Pack(t.Context(), next.small(t)); err != nil {
		t.Error(err)
	}
	for running(dead) {
		time.Sleep(10 * time.Millisecond)
	}
	if !running(alive) {
		t.Error("a pack under way was ended")
	}
	if left := r.helpers(t); len(left) != 2 {
		t.Errorf("left in smolvm's cache: %q, want the machine of the pack under way and the user's own", left)
	}
	if left, err := os.ReadDir(filepath.Join(r.store.Dir(), "tmp")); err != nil || len(left) != 1 {
		t.Errorf("left in tmp: %v, %v; want the directory of the pack under way", left, err)
	}
}

// running reports whether a process is there and not dead.
func running(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

func TestPackFromIndex(t *testing.T) {
	r := newRig(t, settings{})
	req := r.small(t)
	child := req.Image.Blobs[0]
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[
		{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"` + child.Digest.String() + `","size":` + strconv.FormatInt(child.Size, 10) + `,
		 "platform":{"os":"linux","architecture":"` + strings.TrimPrefix(backendtest.Platform, "linux/") + `"}}]}`
	d, err := r.store.PutBytes([]byte(index))
	if err != nil {
		t.Fatal(err)
	}
	blob := cache.Blob{Name: "index", MediaType: "application/vnd.oci.image.index.v1+json", Digest: d, Size: int64(len(index))}
	req.Image = cache.Output{Digest: d, Blobs: []cache.Blob{blob, child}}
	if _, err := r.Pack(t.Context(), req); err != nil {
		t.Error(err)
	}
	req.Platform = "linux/riscv64"
	if _, err := r.Pack(t.Context(), req); err == nil || !strings.Contains(err.Error(), backendtest.Platform) {
		t.Errorf("for another platform: %v, want an error that names those there are", err)
	}
}

func TestCheckManifest(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	config, err := cache.ParseDigest(digest)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		change   func(*sidecar.Manifest)
		platform string
		ok       bool
	}{
		"as asked":       {func(*sidecar.Manifest) {}, "linux/amd64", true},
		"any platform":   {func(*sidecar.Manifest) {}, "", true},
		"same arm":       {func(m *sidecar.Manifest) { m.Platform = "linux/arm64" }, "linux/arm64/v8", true},
		"other image":    {func(m *sidecar.Manifest) { m.Digest = "sha256:00" }, "linux/amd64", false},
		"other platform": {func(*sidecar.Manifest) {}, "linux/arm64", false},
		"open network":   {func(m *sidecar.Manifest) { m.Network = true }, "linux/amd64", false},
	} {
		m := sidecar.Manifest{Digest: digest, Platform: "linux/amd64"}
		tc.change(&m)
		if err := checkManifest(m, config, tc.platform); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}
