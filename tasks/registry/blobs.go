package registry

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"bottlebuild/cache"
)

// blob answers GET and HEAD of a blob of the store.
func (s *Server) blob(w http.ResponseWriter, r *http.Request, digest string) error {
	d, err := cache.ParseDigest(digest)
	if err != nil {
		return apiError{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return unsupported(r)
	}
	size, err := s.store.BlobSize(d)
	if errors.Is(err, cache.ErrMiss) {
		return apiError{http.StatusNotFound, "BLOB_UNKNOWN", err.Error()}
	}
	if err != nil {
		return err
	}
	first, last, partial, err := byteRange(r.Header.Get("Range"), size)
	if err != nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", size))
		return apiError{http.StatusRequestedRangeNotSatisfiable, "SIZE_INVALID", err.Error()}
	}
	h := w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Length", strconv.FormatInt(last-first+1, 10))
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Docker-Content-Digest", d.String())
	status := http.StatusOK
	if partial {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, size))
		status = http.StatusPartialContent
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(status)
		return nil
	}
	b, err := s.store.OpenBlob(d)
	if err != nil {
		return err
	}
	defer b.Close()
	// A range is read from the start, so that one that goes to the end, which is
	// how a broken download is resumed, is verified like the whole.
	if _, err := io.CopyN(io.Discard, b, first); err != nil {
		return err
	}
	var body io.Reader = b
	if last != size-1 {
		body = io.LimitReader(b, last-first+1)
	}
	w.WriteHeader(status)
	if err := copyHeldBack(w, body); err != nil {
		panic(http.ErrAbortHandler) // the only way left to tell the client
	}
	return nil
}

// byteRange reads a Range header for content of that size: what part to send,
// last byte included, and whether it was asked for. A header of several ranges
// or another unit is ignored, as RFC 9110, section 14.2, permits.
func byteRange(header string, size int64) (first, last int64, partial bool, err error) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return 0, size - 1, false, nil
	}
	from, to, ok := strings.Cut(spec, "-")
	last = size - 1
	bad := fmt.Errorf("range %.60q does not fit %d bytes", header, size)
	switch {
	case !ok:
		return 0, 0, false, bad
	case from == "": // the last n bytes
		n, err := strconv.ParseUint(to, 10, 63)
		if err != nil || n == 0 {
			return 0, 0, false, bad
		}
		first = max(0, size-int64(n))
	default:
		n, err := strconv.ParseUint(from, 10, 63)
		if err != nil {
			return 0, 0, false, bad
		}
		first = int64(n)
		if to != "" {
			n, err := strconv.ParseUint(to, 10, 63)
			if err != nil {
				return 0, 0, false, bad
			}
			last = min(int64(n), size-1)
		}
	}
	if first > last {
		return 0, 0, false, bad
	}
	return first, last, true, nil
}

// copyHeldBack copies r to w and writes what it has read only after the next
// read: a reader that finds its content damaged says so at the end, and then
// the last part has not been sent and the client cannot take it for whole.
func copyHeldBack(w io.Writer, r io.Reader) error {
	buf, spare := make([]byte, 64<<10), make([]byte, 64<<10)
	held := buf[:0]
	for {
		n, err := r.Read(spare)
		if err != nil && err != io.EOF {
			return err
		}
		if _, werr := w.Write(held); werr != nil {
			return werr
		}
		buf, spare = spare, buf
		held = buf[:n]
		if err == io.EOF {
			_, err = w.Write(held)
			return err
		}
	}
}
