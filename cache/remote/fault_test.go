package remote

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"bottlebuild/cache"
)

// fault is something that a registry, or what is between, does to an answer.
type fault struct {
	name  string
	times int // how often; 0: always
	do    func(w http.ResponseWriter, r *http.Request, next http.Handler)
	// only names the operations that it makes sense for; empty: all.
	only string
}

const always = 0

func answer(status int, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}
}

func reset(http.ResponseWriter, *http.Request, http.Handler) { panic(http.ErrAbortHandler) }

func stall(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
	_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client has left
	<-r.Context().Done()
}

// altered lets the registry answer and changes the body before it is sent; a
// length below zero is that of the body.
func altered(change func(body []byte) []byte, length func(n int) int) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := change(bytes.Clone(rec.Body.Bytes()))
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Length", strconv.Itoa(length(len(body))))
		w.WriteHeader(rec.Code)
		_, _ = w.Write(body)
		if length(len(body)) > len(body) {
			panic(http.ErrAbortHandler) // the rest never comes
		}
	}
}

func asIs(n int) int { return n }

func flip(b []byte) []byte {
	if len(b) > 0 {
		b[len(b)/2] ^= 0x40
	}
	return b
}

func half(b []byte) []byte { return b[:len(b)/2] }

var faults = []fault{
	{name: "429 with Retry-After 1, once", times: 1, do: answer(429, "Retry-After", "1")},
	{name: "429 with Retry-After of an hour", do: answer(429, "Retry-After", "3600")},
	{name: "429 always", do: answer(429)},
	{name: "500 once", times: 1, do: answer(500)},
	{name: "500 always", do: answer(500)},
	{name: "502 once", times: 1, do: answer(502)},
	{name: "502 always", do: answer(502)},
	{name: "503 with a date, once", times: 1, do: answer(503, "Retry-After", "Mon, 02 Jan 2006 15:04:05 GMT")},
	{name: "503 always", do: answer(503)},
	{name: "401 always", do: answer(401, "WWW-Authenticate", `Basic realm="x"`)},
	{name: "403 always", do: answer(403)},
	{name: "reset once", times: 1, do: reset},
	{name: "reset always", do: reset},
	{name: "stall", do: stall},
	{name: "truncated once", times: 1, do: altered(half, func(n int) int { return 2 * n }), only: "GET"},
	{name: "truncated always", do: altered(half, func(n int) int { return 2*n + 1 }), only: "GET"},
	{name: "shorter than announced by the record", do: altered(half, asIs), only: "GET"},
	{name: "longer", do: altered(func(b []byte) []byte { return append(b, "more"...) }, asIs), only: "GET"},
	{name: "wrong content once", times: 1, do: altered(flip, asIs), only: "GET"},
	{name: "wrong content always", do: altered(flip, asIs), only: "GET"},
	{name: "empty", do: altered(func([]byte) []byte { return nil }, asIs), only: "GET"},
	{name: "HTML", do: altered(func([]byte) []byte { return []byte("<html>captive portal</html>") }, asIs), only: "GET"},
}

// patience is how long a registry may be silent: a stall lasts, everything else
// must not be mistaken for one on a busy machine.
func (f fault) patience() time.Duration {
	if f.name == "stall" {
		return 300 * time.Millisecond
	}
	return time.Minute
}

// inject makes a world do a fault to an operation.
func (f fault) inject(w *world, op string) {
	var mu sync.Mutex
	done := 0
	w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
		if operation(r) != op {
			return false
		}
		mu.Lock()
		mine := f.times == always || done < f.times
		done++
		mu.Unlock()
		if mine {
			f.do(rw, r, w.handler)
		}
		return mine
	})
}

// TestReadFaults: whatever a registry does while it is read, what comes of it is
// the right content or a miss, within the time that a registry may cost.
func TestReadFaults(t *testing.T) {
	eachFault(t, readFault, "ping", "GET index", "GET record", "GET blob")
}

// eachFault does every fault to every operation.
func eachFault(t *testing.T, try func(t *testing.T, op string, f fault), ops ...string) {
	cases := 0
	for _, op := range ops {
		for _, f := range faults {
			if f.only != "" && !strings.HasPrefix(op, f.only) {
				continue
			}
			cases++
			t.Run(op+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				try(t, op, f)
			})
		}
	}
	t.Logf("%d cases", cases)
}

func readFault(t *testing.T, op string, f fault) {
	ctx := t.Context()
	w := newWorld(t)
	one := w.machine(nil)
	entries := []*cache.Entry{one.make(t, "a", "content of a", strings.Repeat("a", 300<<10)), one.make(t, "b", "content of b")}
	for _, e := range entries {
		one.Publish(e)
	}
	one.pushing.Wait() // no index: records are asked for
	if op == "GET index" {
		one.Flush(ctx)
	}
	f.inject(w, op)
	two := w.machine(nil).patient(f.patience())
	usable := 0
	for _, e := range entries {
		got, err := two.Find(ctx, e.Key)
		if err == nil && got.Output.Digest != e.Output.Digest {
			t.Fatalf("found another output: %+v", got)
		}
		if err == nil {
			err = two.fetch(ctx, got)
		} else if errors.Is(err, cache.ErrUncertain) && len(two.notices) == 0 {
			t.Errorf("a lookup failed in silence: %v", err)
		}
		switch {
		case err == nil:
			usable++
		case !errors.Is(err, cache.ErrMiss):
			t.Errorf("neither content nor a miss: %v", err)
		}
	}
	if f.times == 1 && usable != len(entries) {
		t.Errorf("a fault that passed has cost %d of %d entries; notices: %q", len(entries)-usable, len(entries), two.notices)
	}
	if err := two.health().err(); err != nil && !two.said("going on without it") {
		t.Errorf("it was given up in silence: %v", err)
	}
	if f.name == "429 with Retry-After of an hour" {
		w.mu.Lock()
		asked := len(w.seen)
		w.mu.Unlock()
		if _, err := two.Find(ctx, cache.Key{1}); !errors.Is(err, cache.ErrUncertain) {
			t.Errorf("after that: %v", err)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.seen) != asked {
			t.Errorf("it was asked again within the hour: %q", w.seen[asked:])
		}
	}
}

func (m *machine) health() *health { return m.repos[0].client.health }

// TestWriteFaults: whatever a registry does while it is written to, the writer
// ends without an error, and a reader finds the whole or nothing.
func TestWriteFaults(t *testing.T) {
	eachFault(t, writeFault, "ping", "GET record", "HEAD blob", "POST upload", "PATCH upload", "PUT upload", "PUT manifest", "PUT record", "PUT index")
}

func writeFault(t *testing.T, op string, f fault) {
	ctx := t.Context()
	w := newWorld(t)
	f.inject(w, op)
	one := w.machine(nil).patient(f.patience())
	e := one.makeImage(t, "web")
	one.publish(ctx, e)
	w.inject(nil)
	two := w.machine(nil)
	got, err := two.Find(ctx, e.Key)
	if err == nil {
		err = two.fetch(ctx, got)
		if err != nil {
			t.Errorf("the record is there, and what it promises is not: %v", err)
		}
	} else if f.times == 1 {
		t.Errorf("a fault that passed kept it from being written: %v; notices: %q", err, one.notices)
	} else if !errors.Is(err, cache.ErrMiss) {
		t.Error(err)
	}
	if err != nil && len(one.notices) == 0 {
		t.Error("it was not written, and nothing was said")
	}
}
