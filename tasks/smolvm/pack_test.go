package smolvm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
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
		"pack:fail":          {nil, "pull image: something went wrong"},
		"pack:nokvm":         {backend.ErrUnavailable, "turn on virtualisation"},
		"pack:nospace":       {syscall.ENOSPC, "No space left"},
		"pack:slowboot":      {nil, "fewer jobs at once"},
		"pack:crash":         {nil, "killed"},
		"pack:truncate":      {ErrSidecar, "footer"},
		"pack:badcrc":        {ErrSidecar, "CRC-32"},
		"pack:wrongdigest":   {ErrSidecar, "image ID"},
		"pack:wrongplatform": {ErrSidecar, "linux/mips"},
		"pack:network":       {ErrSidecar, "network"},
		"pack:nothing":       {os.ErrNotExist, "left no sidecar"},
	} {
		t.Run(fault, func(t *testing.T) {
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
	r := newRig(t, settings{fault: "pack:hang"})
	req := r.small(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := r.Pack(ctx, req)
		done <- err
	}()
	var pid int
	for pid == 0 {
		select {
		case err := <-done:
			t.Fatalf("Pack ended: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
		b, _ := os.ReadFile(filepath.Join(r.data, "hanging"))
		pid, _ = strconv.Atoi(string(b))
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Pack = %v, want context.Canceled", err)
	}
	for running(pid) {
		time.Sleep(10 * time.Millisecond) // killed, and soon buried by its new parent
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
