package registry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/google/go-containerregistry/pkg/v1/partial"

	"bottlebuild/cache"
)

// mount asks the registry to take a blob over from another of its repositories,
// if it is not in this one already. That the registry does not is no error. The
// library can do this too, but changes its connection while others use it.
func (p *push) mount(ctx context.Context, d cache.Digest, source string) (there, mounted bool, err error) {
	layer, err := p.puller.Layer(ctx, p.repo.Digest(d.String()))
	if err != nil {
		return false, false, err
	}
	if there, err = partial.Exists(layer); err != nil || there {
		return there, false, err
	}
	to := url.URL{
		Scheme:   p.repo.Scheme(), // the transport knows better
		Host:     p.repo.RegistryStr(),
		Path:     fmt.Sprintf("/v2/%s/blobs/uploads/", p.repo.RepositoryStr()),
		RawQuery: url.Values{"mount": {d.String()}, "from": {source}}.Encode(),
	}
	resp, err := p.send(ctx, http.MethodPost, to)
	if err != nil {
		return false, false, err
	}
	if resp.StatusCode == http.StatusCreated {
		return false, true, nil
	}
	// An upload has been started instead. It is not used: the library starts its own.
	if at, err := to.Parse(resp.Header.Get("Location")); err == nil && at.Host == to.Host && resp.StatusCode == http.StatusAccepted {
		at.Scheme = to.Scheme
		_, _ = p.send(ctx, http.MethodDelete, *at)
	}
	return false, false, nil
}

// send does a request without a body and returns the answer's head.
func (p *push) send(ctx context.Context, method string, to url.URL) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, to.String(), nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{Transport: p.transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // for the connection to be used again
	return resp, resp.Body.Close()
}
