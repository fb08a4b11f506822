package tasks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/registry"
)

// kindDownload is the kind of entries that hold what a URL yielded, so that a
// server can say that it still does instead of sending it again.
const kindDownload = "download"

// maxSource bounds what is read of a URL to learn its digest, in bytes.
const maxSource = 16 << 30

// download is what a URL yielded, and by what its server can tell whether it
// still does: RFC 9110, section 8.8. Only strong validators are kept, which
// change with every byte.
type download struct {
	digest   cache.Digest
	etag     string
	modified string // the Last-Modified of an answer without an ETag
}

// resolveHTTP returns the digest of what a URL yields. It is downloaded for that,
// unless the server says that it has not changed since an earlier time.
func (w *Worker) resolveHTTP(ctx context.Context, source string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return "", err
	}
	known := w.knownDownload(source)
	switch {
	case known.etag != "":
		req.Header.Set("If-None-Match", known.etag)
	case known.modified != "":
		req.Header.Set("If-Modified-Since", known.modified)
	}
	c := http.Client{Transport: w.Registry.Transport}
	res, err := c.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the URL is said by the caller
		}
		return "", fmt.Errorf("%w: %w; a build without a network needs it pinned: bottlebuild lock, or ADD --checksum", registry.ErrUnavailable, err)
	}
	defer res.Body.Close()
	switch {
	case res.StatusCode == http.StatusNotModified && !known.digest.IsZero():
		return known.digest.String(), nil
	case res.StatusCode != http.StatusOK:
		return "", fmt.Errorf("the server answers %s", res.Status)
	}
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(res.Body, maxSource+1))
	if err != nil {
		return "", fmt.Errorf("%w: %w", registry.ErrUnavailable, err)
	}
	if n > maxSource {
		return "", fmt.Errorf("it has more than %d bytes", int64(maxSource))
	}
	d := download{digest: cache.Digest(h.Sum(nil))}
	d.etag, d.modified = validators(res.Header)
	w.resolutions.downloaded(source, d)
	return d.digest.String(), nil
}

// maxValidator bounds what is kept of a server's header, in bytes.
const maxValidator = 1 << 10

// validators returns what a server can be asked with whether an answer still
// holds; both are empty if there is nothing that can be relied on.
func validators(h http.Header) (etag, modified string) {
	etag, modified = h.Get("ETag"), h.Get("Last-Modified")
	if len(etag) > maxValidator || len(modified) > maxValidator {
		return "", ""
	}
	if etag != "" {
		if strings.HasPrefix(etag, "W/") {
			return "", ""
		}
		return etag, ""
	}
	// A second file of the same second would have the same time: section 8.8.2.2.
	at, err := http.ParseTime(modified)
	now, nerr := http.ParseTime(h.Get("Date"))
	if err != nil || nerr != nil || now.Sub(at) < time.Minute {
		return "", ""
	}
	return "", modified
}

// downloadRecipe conceals the URL, in which there may be a password.
func downloadRecipe(source string) *cache.Recipe {
	r := cache.NewRecipe(kindDownload)
	r.Add("url", source)
	r.Conceal("url")
	return r
}

// knownDownload returns what is known of an earlier download; zero if nothing is.
func (w *Worker) knownDownload(source string) download {
	e, err := w.Store.Get(downloadRecipe(source).Key())
	if err != nil {
		return download{} // then it is downloaded
	}
	return download{e.Output.Digest, e.Output.Attrs["etag"], e.Output.Attrs["last-modified"]}
}

// downloaded notes what a URL has yielded, for [Worker.SaveDownloads].
func (r *resolutions) downloaded(source string, d download) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.downloads == nil {
		r.downloads = map[string]download{}
	}
	r.downloads[source] = d
}

// SaveDownloads remembers in the cache what URLs have yielded since the last
// call, as far as their servers can tell later whether that still holds. It is
// for commands that may change things; where it is not called, nothing but time
// is lost.
func (w *Worker) SaveDownloads() error {
	r := &w.resolutions
	r.mu.Lock()
	learnt := r.downloads
	r.downloads = nil
	r.mu.Unlock()
	var errs []error
	for source, d := range learnt {
		if d.etag == "" && d.modified == "" {
			continue
		}
		attrs := map[string]string{"etag": d.etag}
		if d.etag == "" {
			attrs = map[string]string{"last-modified": d.modified}
		}
		recipe := downloadRecipe(source)
		errs = append(errs, w.Store.Put(&cache.Entry{
			Key: recipe.Key(), Kind: kindDownload, Created: time.Now().UTC(), Recipe: recipe.Text(),
			Output: cache.Output{Digest: d.digest, Attrs: attrs},
		}))
	}
	return errors.Join(errs...)
}
