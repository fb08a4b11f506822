package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// ErrUnavailable is wrapped by errors of a registry that cannot be reached or
// that says it is out of service, as opposed to one that refuses.
var ErrUnavailable = errors.New("registry unavailable")

const (
	tries = 3
	// longestPause bounds what a registry can ask for in Retry-After.
	longestPause = time.Minute
)

// retry calls op up to three times while it fails in ways that pass, and pauses
// in between: one second, then three, or for as long as the registry asks.
func (c *Client) retry(ctx context.Context, op func(context.Context) error) error {
	pause := cmp.Or(c.pause, time.Second)
	for try := 1; ; try++ {
		opCtx, t := withTrace(ctx)
		err := op(opCtx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if try == tries || !passes(err) {
			return err
		}
		wait := pause + rand.N(pause/4+1)
		wait = min(max(wait, time.Duration(t.retryAfter.Load())), longestPause)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
		pause *= 3
	}
}

// passes reports whether a failure may be gone on the next try.
func passes(err error) bool {
	var answer *transport.Error
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	var timeout net.Error
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) ||
		errors.As(err, &timeout) && timeout.Timeout()
}

// networkFailure reports whether there was no answer at all.
func networkFailure(err error) bool {
	var op *net.OpError
	var dns *net.DNSError
	var timeout net.Error
	return errors.As(err, &op) || errors.As(err, &dns) || errors.As(err, &timeout) && timeout.Timeout() ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EPIPE)
}

// explain says what failed and what a user can do. what is the operation, ref
// the object as the user knows it.
func explain(what, ref string, repo name.Repository, err error) error {
	host := repo.RegistryStr()
	login := host
	if host == name.DefaultRegistry {
		login = "docker.io"
	}
	var answer *transport.Error
	var request *url.Error
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s %s: %w", what, ref, err)
	case errors.As(err, &answer):
		return fmt.Errorf("%s %s: %w", what, ref, explainAnswer(answer, login, repo))
	case errors.Is(err, errPlainHTTP), errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &record):
		return fmt.Errorf("%s %s: %s does not speak https; if that is meant, set `insecure = true` on its registry block: %w", what, ref, host, err)
	case errors.As(err, &certificate), errors.As(err, &authority):
		return fmt.Errorf("%s %s: the certificate of %s cannot be checked; install the authority that issued it, or set `insecure = true` on the registry block: %w", what, ref, host, err)
	}
	if errors.As(err, &request) { // its URL may hold an upload's state; the host says enough
		err = request.Err
	}
	if networkFailure(err) {
		return fmt.Errorf("%s %s: %w: cannot reach %s: %w", what, ref, ErrUnavailable, host, err)
	}
	return fmt.Errorf("%s %s: %w", what, ref, err)
}

func explainAnswer(answer *transport.Error, login string, repo name.Repository) error {
	switch answer.StatusCode {
	case http.StatusUnauthorized:
		return fmt.Errorf("%s wants credentials, or refused those it was given, or there is no such repository; run `docker login %s`: %w", login, login, answer)
	case http.StatusForbidden:
		return fmt.Errorf("%s denied access to %s; log in as someone who has it with `docker login %s`: %w", login, repo.RepositoryStr(), login, answer)
	case http.StatusNotFound:
		return fmt.Errorf("%s has no such image or repository; check the name, or create repository %s there: %w", login, repo.RepositoryStr(), answer)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s limits how often it may be asked; wait, or log in for a higher limit with `docker login %s`: %w", login, login, answer)
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return fmt.Errorf("%w: %s is out of service: %w", ErrUnavailable, login, answer)
	}
	return answer
}
