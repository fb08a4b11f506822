package registry

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
)

func TestServerTakesUploads(t *testing.T) {
	s := newStore(t)
	srv := serve(t, s)
	base := "/v2/" + srv.Repository() + "/team/app/blobs/"
	start := func() string {
		a := do(t, srv, "POST", base+"uploads/", "")
		if a.status != 202 {
			t.Fatalf("POST: %d %s", a.status, a.body)
		}
		return a.header.Get("Location")
	}
	digest := func(s string) string { return cache.DigestOf([]byte(s)).String() }
	check := func(a answer, status int) {
		t.Helper()
		if a.status != status {
			t.Errorf("status %d, want %d: %s", a.status, status, a.body)
		}
	}
	has := func(content string, want bool) {
		t.Helper()
		if got := s.HasBlob(cache.DigestOf([]byte(content)), int64(len(content))) == nil; got != want {
			t.Errorf("store has %q: %t, want %t", content, got, want)
		}
	}

	check(do(t, srv, "POST", base+"uploads/?digest="+digest("whole"), "whole"), 201)
	has("whole", true)

	loc := start()
	check(do(t, srv, "PUT", loc+"?digest="+digest("in the put"), "in the put"), 201)
	has("in the put", true)
	check(do(t, srv, "GET", loc, ""), 404)

	loc = start()
	check(do(t, srv, "PATCH", loc, "chunk one,", "Content-Range", "0-9"), 202)
	a := do(t, srv, "PATCH", loc, "too far", "Content-Range", "11-17")
	check(a, 416)
	if got := a.header.Get("Range"); got != "0-9" {
		t.Errorf("Range after a refused chunk is %q, want 0-9", got)
	}
	check(do(t, srv, "PATCH", loc, "chunk two,", "Content-Range", "10-19"), 202)
	a = do(t, srv, "GET", loc, "")
	check(a, 204)
	if got := a.header.Get("Range"); got != "0-19" {
		t.Errorf("Range is %q, want 0-19", got)
	}
	check(do(t, srv, "PATCH", loc, "streamed,"), 202)
	has("chunk one,chunk two,streamed,last", false)
	check(do(t, srv, "PUT", loc+"?digest="+digest("chunk one,chunk two,streamed,last"), "last"), 201)
	has("chunk one,chunk two,streamed,last", true)

	loc = start()
	check(do(t, srv, "PATCH", loc, "wrong"), 202)
	a = do(t, srv, "PUT", loc+"?digest="+digest("right"), "")
	check(a, 400)
	if diff := cmp.Diff("DIGEST_INVALID", a.code(t)); diff != "" {
		t.Error(diff)
	}
	has("wrong", false)
	has("right", false)

	loc = start()
	check(do(t, srv, "DELETE", loc, ""), 204)
	check(do(t, srv, "PATCH", loc, "x"), 404)
	check(do(t, srv, "PUT", start(), "no digest"), 400)

	check(do(t, srv, "POST", base+"uploads/?mount="+digest("whole")+"&from=elsewhere", ""), 201)
	check(do(t, srv, "POST", base+"uploads/?mount="+digest("unknown")+"&from=elsewhere", ""), 202)
	check(do(t, srv, "DELETE", base+digest("whole"), ""), 405)
}

func TestServerBoundsUploads(t *testing.T) {
	srv := serve(t, newStore(t))
	path := "/v2/" + srv.Repository() + "/app/blobs/uploads/"
	for i := range maxUploads {
		if a := do(t, srv, "POST", path, ""); a.status != 202 {
			t.Fatalf("upload %d: %d %s", i, a.status, a.body)
		}
	}
	if a := do(t, srv, "POST", path, ""); a.status != 429 {
		t.Errorf("one upload too many: %d %s", a.status, a.body)
	}
}

func TestServerCloseDropsUploads(t *testing.T) {
	s := newStore(t)
	srv, err := Serve(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	loc := do(t, srv, "POST", "/v2/"+srv.Repository()+"/app/blobs/uploads/", "").header.Get("Location")
	do(t, srv, "PATCH", loc, "never finished")
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(s.Dir(), "tmp"))
	if err != nil || len(left) != 0 {
		t.Errorf("tmp holds %v, %v", left, err)
	}
	if _, err := http.Get("http://" + srv.Addr() + "/v2/"); err == nil {
		t.Error("the server still answers")
	}
}
