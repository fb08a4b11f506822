package registry

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"bottlebuild/cache"
)

func TestPublish(t *testing.T) {
	s := newStore(t)
	srv := serve(t, s)
	idx := index(t, map[string]v1.Image{"amd64": gzipImage(t, 1, "amd64"), "arm64": gzipImage(t, 10, "arm64")})
	desc := save(t, s, idx)
	ref, err := srv.Publish("local/agent", desc, "dev", "v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{ref, strings.Replace(ref, "@"+desc.Digest.String(), ":dev", 1)} {
		parsed, err := name.ParseReference(r)
		if err != nil {
			t.Fatal(err)
		}
		tr := &http.Transport{}
		got, err := remote.Index(parsed, remote.WithTransport(tr))
		if err != nil {
			t.Fatalf("%s: %v", r, err)
		}
		if err := validate.Index(got); err != nil {
			t.Errorf("%s: %v", r, err)
		}
		tr.CloseIdleConnections()
	}
	if _, err := srv.Publish("local/agent", cache.Blob{Digest: cache.DigestOf([]byte("gone"))}); !errors.Is(err, cache.ErrMiss) {
		t.Errorf("publish of what is not there: %v", err)
	}
	if _, err := srv.Publish("Local", desc); err == nil {
		t.Error("publish took a name that is none")
	}
	if _, err := srv.Publish("local", desc, "a/b"); err == nil {
		t.Error("publish took a tag that is none")
	}
}

// Tags of a declared embedded registry are kept by the store and outlive the server.
func TestServerServesTagsOfTheStore(t *testing.T) {
	s := newStore(t)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	if err := s.Tag(t.Context(), "scratch/agent:dev", desc); err != nil {
		t.Fatal(err)
	}
	srv := serve(t, s)
	a := do(t, srv, "HEAD", "/v2/"+srv.Repository()+"/scratch/agent/manifests/dev", "")
	if a.status != 200 || a.header.Get("Docker-Content-Digest") != desc.Digest.String() {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := do(t, srv, "HEAD", "/v2/"+srv.Repository()+"/scratch/agent/manifests/other", ""); a.status != 404 {
		t.Errorf("unknown tag: %d", a.status)
	}
}

func TestServerWithSkopeo(t *testing.T) {
	s := newStore(t)
	srv := serve(t, s)
	desc := save(t, s, smallImage(t, 1, "amd64"))
	ref, err := srv.Publish("app", desc, "dev")
	if err != nil {
		t.Fatal(err)
	}
	tagged := "docker://" + srv.Addr() + "/" + srv.Repository() + "/app:dev"
	if out := run(t, "skopeo", "inspect", "--tls-verify=false", tagged); !strings.Contains(out, desc.Digest.String()) {
		t.Errorf("inspect: %s", out)
	}
	run(t, "skopeo", "copy", "--src-tls-verify=false", "docker://"+ref, "oci:"+t.TempDir()+":x")
	run(t, "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+ref, "docker://"+srv.Addr()+"/"+srv.Repository()+"/copy:latest")
	// Recompressed, its blobs are new to the store: they are uploaded.
	ref, err = srv.Publish("gz", save(t, s, gzipImage(t, 1, "amd64")))
	if err != nil {
		t.Fatal(err)
	}
	run(t, "skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", "--dest-compress-format", "gzip", "--dest-compress-level", "9", "--format", "v2s2",
		"docker://"+ref, "docker://"+srv.Addr()+"/"+srv.Repository()+"/docker:latest")
	got, err := srv.lookup("docker", "latest")
	if err != nil {
		t.Fatal(err)
	}
	img, err := ReadImage(s, got)
	if err != nil {
		t.Fatal(err)
	}
	if img.Attrs["mediaType"] != string(types.DockerManifestSchema2) || img.Attrs["platform"] != "linux/amd64" {
		t.Errorf("attrs %v", img.Attrs)
	}
}

// A layer passes through the server, and through a client into it, in pieces.
func TestServerStreams(t *testing.T) {
	const size = 200 << 20
	from, to := newStore(t), newStore(t)
	d, n, err := from.PutBlob(io.LimitReader(rand.NewChaCha8([32]byte{}), size))
	if err != nil {
		t.Fatal(err)
	}
	big, err := partial.CompressedToLayer(storeLayer{from, cache.Blob{MediaType: string(types.OCIUncompressedLayer), Digest: d, Size: n}})
	if err != nil {
		t.Fatal(err)
	}
	desc := save(t, from, image(t, "amd64", big))
	srv := serve(t, to)
	c, _ := newClient(t, from)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := c.Push(t.Context(), cache.Output{Digest: desc.Digest}, Target{Registry: srv.Addr() + "/" + srv.Repository(), Repository: "big"}, discard)
	if err != nil {
		t.Fatal(err)
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > size/8 {
		t.Errorf("a push of %d bytes allocated %d", size, got)
	}
	if r.BytesPushed < size || r.BlobsPushed != 2 {
		t.Errorf("%+v", r)
	}
	if _, err := ReadImage(to, desc); err != nil {
		t.Error(err)
	}
}
