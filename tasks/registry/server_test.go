package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/types"

	"bottlebuild/cache"
)

// answer is what of a response the tests compare.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends one request to a path of the server.
func do(t *testing.T, srv *Server, method, path, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+srv.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

func (a answer) code(t *testing.T) string {
	t.Helper()
	var e struct{ Errors []struct{ Code string } }
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || len(e.Errors) != 1 {
		t.Fatalf("%d %q is no error answer: %v", a.status, a.body, err)
	}
	return e.Errors[0].Code
}

func TestServerHidesAllBelowItsPrefix(t *testing.T) {
	s := newStore(t)
	srv := serve(t, s)
	d := put(t, s, []byte("secret"))
	for path, want := range map[string]int{
		"/v2/": 200, "/v2": 200,
		"/": 404, "/v2/_catalog": 404, "/v2/app/tags/list": 404,
		"/v2/app/blobs/" + d.String():                                       404,
		"/v2/" + strings.Repeat("a", 26) + "/app/blobs/" + d.String():       404,
		"/v2/" + srv.Repository() + "/blobs/" + d.String():                  404,
		"/v2/" + srv.Repository() + "x/app/blobs/" + d.String():             404,
		"/v2/" + srv.Repository() + "/UP/blobs/" + d.String():               404,
		"/v2/" + srv.Repository() + "/app/blobs/" + d.String():              200,
		"/v2/" + srv.Repository() + "/a/b/c/blobs/" + d.String():            200,
		"/v2/" + srv.Repository() + "/app/blobs/sha256:../../../etc/passwd": 404,
		"/v2/" + srv.Repository() + "/app/blobs/sha256:0":                   400,
		"/v2/" + srv.Repository() + "/app/manifests/" + d.String():          404,
		"/v2/" + srv.Repository() + "/app/manifests/..%2f..%2findex":        404,
		"/v2/" + srv.Repository() + "/app/referrers/" + d.String():          404,
	} {
		if got := do(t, srv, "GET", path, "").status; got != want {
			t.Errorf("GET %s: %d, want %d", path, got, want)
		}
	}
	if len(srv.Repository()) < 26 {
		t.Errorf("prefix %q has less than 128 bits", srv.Repository())
	}
}

func TestServerEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv, err := Serve(ctx, newStore(t))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-srv.done
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}

func TestServerChecksManifests(t *testing.T) {
	s := newStore(t)
	srv := serve(t, s)
	config, missing := put(t, s, []byte("{}")), cache.DigestOf([]byte("not there"))
	doc := func(config cache.Digest, size int, layer cache.Digest) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":%d},"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":%q,"size":2}]}`,
			types.OCIManifestSchema1, config, size, layer)
	}
	idx := func(child cache.Digest, size int) string {
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":%d}]}`, types.OCIImageIndex, types.OCIManifestSchema1, child, size)
	}
	good := doc(config, 2, config)
	for _, c := range []struct {
		name, ref, body, mediaType string
		status                     int
		code                       string
	}{
		{"by tag", "v1", good, string(types.OCIManifestSchema1), 201, ""},
		{"by digest", cache.DigestOf([]byte(good)).String(), good, string(types.OCIManifestSchema1), 201, ""},
		{"index", "multi", idx(cache.DigestOf([]byte(good)), len(good)), string(types.OCIImageIndex), 201, ""},
		{"another digest", missing.String(), good, string(types.OCIManifestSchema1), 400, "DIGEST_INVALID"},
		{"missing config", "v1", doc(missing, 2, config), string(types.OCIManifestSchema1), 400, "MANIFEST_BLOB_UNKNOWN"},
		{"missing layer", "v1", doc(config, 2, missing), string(types.OCIManifestSchema1), 400, "MANIFEST_BLOB_UNKNOWN"},
		{"missing child", "v1", idx(missing, 10), string(types.OCIImageIndex), 400, "MANIFEST_BLOB_UNKNOWN"},
		{"another media type", "v1", good, string(types.OCIImageIndex), 400, "MANIFEST_INVALID"},
		{"no JSON", "v1", "{", string(types.OCIManifestSchema1), 400, "MANIFEST_INVALID"},
		{"layers and manifests", "v1", `{"schemaVersion":2,"config":{},"manifests":[]}`, string(types.OCIManifestSchema1), 400, "MANIFEST_INVALID"},
		{"schema 1", "v1", `{"schemaVersion":1}`, string(types.DockerManifestSchema1), 400, "MANIFEST_INVALID"},
		{"bad tag", "-x", good, string(types.OCIManifestSchema1), 400, "TAG_INVALID"},
		{"too long", "v1", strings.Repeat(" ", maxManifest+1), string(types.OCIManifestSchema1), 413, "SIZE_INVALID"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := do(t, srv, "PUT", "/v2/"+srv.Repository()+"/app/manifests/"+c.ref, c.body, "Content-Type", c.mediaType)
			if a.status != c.status || c.code != "" && a.code(t) != c.code {
				t.Fatalf("%d %s, want %d %s", a.status, a.body, c.status, c.code)
			}
			if c.status != 201 {
				return
			}
			got := do(t, srv, "GET", "/v2/"+srv.Repository()+"/app/manifests/"+c.ref, "")
			if got.status != 200 || got.body != c.body || got.header.Get("Content-Type") != c.mediaType {
				t.Errorf("read back: %d %q %v", got.status, got.body, got.header)
			}
		})
	}
	if a := do(t, srv, "GET", "/v2/"+srv.Repository()+"/app/tags/list", ""); !strings.Contains(a.body, `"tags":["multi","v1"]`) {
		t.Errorf("tags: %s", a.body)
	}
}

func TestServerRanges(t *testing.T) {
	s := newStore(t)
	srv := serve(t, s)
	path := "/v2/" + srv.Repository() + "/app/blobs/" + put(t, s, []byte("0123456789")).String()
	for _, c := range []struct {
		header       string
		status       int
		body, cRange string
	}{
		{"", 200, "0123456789", ""},
		{"bytes=0-", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=4-", 206, "456789", "bytes 4-9/10"},
		{"bytes=2-5", 206, "2345", "bytes 2-5/10"},
		{"bytes=2-500", 206, "23456789", "bytes 2-9/10"},
		{"bytes=-3", 206, "789", "bytes 7-9/10"},
		{"bytes=-30", 206, "0123456789", "bytes 0-9/10"},
		{"bytes=0-1,4-5", 200, "0123456789", ""},
		{"lines=1-2", 200, "0123456789", ""},
		{"bytes=10-", 416, "", "bytes */10"},
		{"bytes=5-2", 416, "", "bytes */10"},
		{"bytes=x-2", 416, "", "bytes */10"},
		{"bytes=-0", 416, "", "bytes */10"},
	} {
		a := do(t, srv, "GET", path, "", "Range", c.header)
		if a.status != c.status || c.body != "" && a.body != c.body || a.header.Get("Content-Range") != c.cRange {
			t.Errorf("%s: %d %q %q, want %+v", c.header, a.status, a.body, a.header.Get("Content-Range"), c)
		}
	}
	if a := do(t, srv, "HEAD", path, ""); a.status != 200 || a.header.Get("Content-Length") != "10" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
	if a := do(t, srv, "GET", "/v2/"+srv.Repository()+"/app/blobs/"+put(t, s, nil).String(), ""); a.status != 200 || a.body != "" {
		t.Errorf("empty blob: %d %q", a.status, a.body)
	}
}

// A client must not be able to take a damaged blob for whole.
func TestServerCutsOffDamagedBlobs(t *testing.T) {
	for _, size := range []int{1, 1000, 64 << 10, 300_000} {
		s := newStore(t)
		srv := serve(t, s)
		d := put(t, s, bytes.Repeat([]byte("x"), size))
		damage(t, s, d)
		tr := &http.Transport{DisableKeepAlives: true}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+srv.Addr()+"/v2/"+srv.Repository()+"/app/blobs/"+d.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := tr.RoundTrip(req)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		if err == nil {
			t.Errorf("%d bytes: the download succeeded", size)
		}
		if err := s.HasBlob(d, -1); !errors.Is(err, cache.ErrMiss) {
			t.Errorf("%d bytes: the blob is still there: %v", size, err)
		}
	}
}
