package registry

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"bottlebuild/cache"
)

func TestPush(t *testing.T) {
	addr := dockerRegistry(t, "")
	s := newStore(t)
	idx := save(t, s, index(t, map[string]v1.Image{"amd64": smallImage(t, 1, "amd64"), "arm64": smallImage(t, 10, "arm64")}))
	img := cache.Output{Digest: idx.Digest}
	all, err := ReadImage(s, idx)
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, b := range all.Blobs {
		if b.Name == "layer" || b.Name == "config" {
			size += b.Size
		}
	}
	c, count := newClient(t, s)
	target := Target{Registry: addr + "/acme", Repository: "agent", Tags: []string{"dev", "v1"}}
	push := func(target Target, want PushResult) {
		t.Helper()
		got, err := c.Push(t.Context(), img, target, discard)
		if err != nil {
			t.Fatal(err)
		}
		want.Ref = addr + "/acme/" + target.Repository + "@" + img.Digest.String()
		want.Digest = img.Digest
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	check := func(target Target, digest cache.Digest, want ...string) {
		t.Helper()
		got, err := c.Check(t.Context(), target, digest)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]string{}, want...), append([]string{}, got...)); diff != "" {
			t.Error(diff)
		}
	}
	check(target, img.Digest, "the manifest is gone", "tag dev is gone", "tag v1 is gone")
	push(target, PushResult{BlobsPushed: 8, BytesPushed: size})
	check(target, img.Digest)
	if got := run(t, "skopeo", "inspect", "--tls-verify=false", "--raw", "docker://"+addr+"/acme/agent:dev"); cache.DigestOf([]byte(got)) != idx.Digest {
		t.Errorf("skopeo reads %s", got)
	}

	count.patches.Store(0)
	push(target, PushResult{BlobsSkipped: 8})
	if n := count.patches.Load(); n != 0 {
		t.Errorf("the second push uploaded %d times", n)
	}

	second := target
	second.Repository = "copy"
	push(second, PushResult{Mounted: 8})
	if n := count.patches.Load(); n != 0 {
		t.Errorf("the push to another repository uploaded %d times", n)
	}

	other := save(t, s, smallImage(t, 50, "amd64"))
	img = cache.Output{Digest: other.Digest}
	if _, err := c.Push(t.Context(), img, Target{Registry: addr + "/acme", Repository: "agent", Tags: []string{"v1"}}, discard); err != nil {
		t.Fatal(err)
	}
	check(target, idx.Digest, "tag v1 points to "+other.Digest.String())

	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+addr+"/v2/acme/agent/manifests/"+idx.Digest.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := count.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	check(target, idx.Digest, "the manifest is gone", "tag dev is gone", "tag v1 points to "+other.Digest.String())
}

// What is remembered of earlier pushes may be wrong in any way.
func TestPushToleratesWrongMemory(t *testing.T) {
	addr := dockerRegistry(t, "")
	s := newStore(t)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	c, count := newClient(t, s)
	if err := os.Mkdir(filepath.Join(s.Dir(), "pushed"), 0o700); err != nil {
		t.Fatal(err)
	}
	all, err := ReadImage(s, desc)
	if err != nil {
		t.Fatal(err)
	}
	wrong := fmt.Sprintf(`{"host":%q,"blobs":{%q:"never/existed",%q:"../BAD"}}`, addr, all.Blobs[1].Digest, all.Blobs[2].Digest)
	for i, content := range []string{wrong, "{", `{"host":"another","blobs":{}}`, `null`} {
		if err := os.WriteFile(filepath.Join(s.Dir(), pushedPath(addr)), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := c.Push(t.Context(), cache.Output{Digest: desc.Digest}, Target{Registry: addr, Repository: fmt.Sprintf("app%d", i)}, discard)
		if err != nil {
			t.Fatalf("with %s: %v", content, err)
		}
		if r.BlobsPushed != 4 {
			t.Errorf("with %s: %+v", content, r)
		}
	}
	if n := count.mounts.Load(); n != 1 {
		t.Errorf("%d mounts were tried, want 1", n)
	}
}

func TestPushNeedsTheImage(t *testing.T) {
	s := newStore(t)
	c, count := newClient(t, s)
	_, err := c.Push(t.Context(), cache.Output{Digest: cache.DigestOf(nil)}, Target{Registry: "127.0.0.1:1", Repository: "app"}, discard)
	if !errors.Is(err, cache.ErrMiss) || count.requests.Load() != 0 {
		t.Errorf("%v, after %d requests", err, count.requests.Load())
	}
}

func TestTargetNames(t *testing.T) {
	for _, c := range []struct {
		target Target
		want   string // of the repository, or of the error
	}{
		{Target{Registry: "registry.example.com/acme", Repository: "a"}, "registry.example.com/acme/a"},
		{Target{Registry: "localhost", Repository: "a/b"}, "localhost/a/b"},
		{Target{Registry: "docker.io/acme/", Repository: "a"}, "index.docker.io/acme/a"},
		{Target{Registry: "acme", Repository: "a"}, "must start with a host"},
		{Target{Registry: "https://registry.example.com", Repository: "a"}, "leave out the scheme"},
		{Target{Registry: "registry.example.com", Repository: ""}, "repository"},
		{Target{Registry: "registry.example.com", Repository: "A"}, "repository"},
		{Target{Registry: "registry.example.com", Repository: "agent", Tags: []string{"x/y"}}, "is not a tag"},
	} {
		repo, err := c.target.repository()
		got := repo.Name()
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%+v: %s, want %s", c.target, got, c.want)
		}
	}
}
