package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"bottlebuild/cache"
)

// maxUploads bounds how many uploads are open at once; each holds a file.
const maxUploads = 256

// upload is a blob that a client sends in one or more requests. mu is held while
// one of them writes.
type upload struct {
	mu   sync.Mutex
	blob *cache.BlobWriter
}

// startUpload answers POST: a mount, a whole blob in one request, or the start
// of an upload.
func (s *Server) startUpload(w http.ResponseWriter, r *http.Request, name string) error {
	if r.Method != http.MethodPost {
		return unsupported(r)
	}
	query := r.URL.Query()
	// All repositories share the store, so a blob that is there is mounted
	// whatever repository the client believes it to be in.
	if d, err := cache.ParseDigest(query.Get("mount")); err == nil && s.store.HasBlob(d, -1) == nil {
		return s.created(w, name, d)
	}
	blob, err := s.store.NewBlob()
	if err != nil {
		return diskError(err)
	}
	u := &upload{blob: blob}
	if digest := query.Get("digest"); digest != "" {
		defer blob.Close()
		return s.finish(w, r, name, u, digest)
	}
	id := rand.Text()
	s.mu.Lock()
	full := len(s.uploads) >= maxUploads
	if !full {
		s.uploads[id] = u
	}
	s.mu.Unlock()
	if full {
		blob.Close()
		return apiError{http.StatusTooManyRequests, "TOOMANYREQUESTS", fmt.Sprintf("%d uploads are open", maxUploads)}
	}
	s.progress(w, name, id, u)
	w.WriteHeader(http.StatusAccepted)
	return nil
}

// continueUpload answers PATCH (more content), PUT (the rest, then publish), GET
// (how much is there) and DELETE of an upload.
func (s *Server) continueUpload(w http.ResponseWriter, r *http.Request, name, id string) error {
	s.mu.Lock()
	u := s.uploads[id]
	s.mu.Unlock()
	if u == nil {
		return apiError{http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "no such upload"}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		s.progress(w, name, id, u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodPatch:
		if err := s.receive(w, r, name, id, u); err != nil {
			return err
		}
		s.progress(w, name, id, u)
		w.WriteHeader(http.StatusAccepted)
		return nil
	case http.MethodPut:
		digest := r.URL.Query().Get("digest")
		if err := s.finish(w, r, name, u, digest); err != nil {
			s.drop(id, u)
			return err
		}
		s.drop(id, u)
		return nil
	case http.MethodDelete:
		s.drop(id, u)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	return unsupported(r)
}

// receive appends the body to the upload. With a Content-Range it must start
// where the upload ends.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, name, id string, u *upload) error {
	if rng := r.Header.Get("Content-Range"); rng != "" {
		from, _, _ := strings.Cut(strings.TrimPrefix(rng, "bytes "), "-")
		if start, err := strconv.ParseInt(from, 10, 64); err != nil || start != u.blob.Size() {
			s.progress(w, name, id, u)
			return apiError{http.StatusRequestedRangeNotSatisfiable, "BLOB_UPLOAD_INVALID",
				fmt.Sprintf("content range %.60q does not start at %d", rng, u.blob.Size())}
		}
	}
	if _, err := io.Copy(u.blob, r.Body); err != nil {
		return diskError(err)
	}
	return nil
}

// finish appends the body and publishes the upload if it has that digest.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, name string, u *upload, digest string) error {
	want, err := cache.ParseDigest(digest)
	if err != nil {
		return apiError{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	}
	if _, err := io.Copy(u.blob, r.Body); err != nil {
		return diskError(err)
	}
	if _, err := u.blob.Commit(want); errors.Is(err, cache.ErrDamaged) {
		return apiError{http.StatusBadRequest, "DIGEST_INVALID", err.Error()}
	} else if err != nil {
		return diskError(err)
	}
	return s.created(w, name, want)
}

// drop forgets an upload; u.mu is held.
func (s *Server) drop(id string, u *upload) {
	s.mu.Lock()
	delete(s.uploads, id)
	s.mu.Unlock()
	u.blob.Close()
}

// progress sets the headers that tell where an upload goes on.
func (s *Server) progress(w http.ResponseWriter, name, id string, u *upload) {
	w.Header().Set("Location", "/v2/"+s.prefix+"/"+name+"/blobs/uploads/"+id)
	w.Header().Set("Range", fmt.Sprintf("0-%d", max(0, u.blob.Size()-1)))
	w.Header().Set("Docker-Upload-UUID", id)
}

func (s *Server) created(w http.ResponseWriter, name string, d cache.Digest) error {
	w.Header().Set("Location", "/v2/"+s.prefix+"/"+name+"/blobs/"+d.String())
	w.Header().Set("Docker-Content-Digest", d.String())
	w.WriteHeader(http.StatusCreated)
	return nil
}

// diskError makes it known that this machine has run out of something: clients
// repeat what fails with other statuses of the server's.
func diskError(err error) error {
	for _, e := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, e) {
			return apiError{http.StatusInsufficientStorage, "DENIED", err.Error()}
		}
	}
	return err
}
