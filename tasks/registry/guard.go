package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// errPlainHTTP says that a request would have gone out unprotected.
var errPlainHTTP = errors.New("refused to speak plain http")

// guard is the transport below the library's own. It keeps requests from
// leaving unprotected, bounds manifests, and notes in the request's trace what
// the library does not tell.
type guard struct {
	inner    http.RoundTripper
	insecure bool
}

func (g *guard) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme == "http" && !g.insecure && !loopback(r.URL.Hostname()) {
		return nil, fmt.Errorf("%w to %s", errPlainHTTP, r.URL.Host)
	}
	resp, err := g.inner.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if t, ok := r.Context().Value(traceKey{}).(*trace); ok {
		t.note(resp)
	}
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/manifests/") {
		resp.Body = &boundedBody{resp.Body, maxManifest}
	}
	return resp, nil
}

// loopback reports whether a host name is this machine by its very name.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// boundedBody fails rather than yield more than left bytes.
type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("the manifest is over %d bytes", maxManifest)
	}
	return n, err
}

type traceKey struct{}

// trace is what was seen of the requests of one operation.
type trace struct {
	retryAfter atomic.Int64 // time.Duration
}

func withTrace(ctx context.Context) (context.Context, *trace) {
	t := &trace{}
	return context.WithValue(ctx, traceKey{}, t), t
}

// note keeps for how long an answer asks not to be asked again.
func (t *trace) note(resp *http.Response) {
	switch resp.StatusCode {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		value := resp.Header.Get("Retry-After")
		if s, err := strconv.Atoi(value); err == nil {
			t.retryAfter.Store(int64(time.Duration(min(max(s, 0), 3600)) * time.Second))
		} else if at, err := http.ParseTime(value); err == nil {
			t.retryAfter.Store(int64(time.Until(at)))
		}
	}
}
