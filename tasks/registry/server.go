// Package registry speaks the OCI distribution protocol over the content store:
// a server in this process that serves the store's own blobs, and a client that
// pulls into the store and pushes from it.
//
// The protocol is that of
// https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md.
package registry

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"bottlebuild/cache"
	"bottlebuild/internal/lazyregexp"
)

// Server is a registry on the loopback interface. Whatever is in the store can
// be pulled by digest without an upload, and what is pushed lands in the store.
//
// Repositories live below one path segment of 130 random bits, which other
// users of this machine cannot know; all else is answered with 404.
//
// It is not built on go-containerregistry's registry package, which keeps
// uploads and manifests in memory.
type Server struct {
	store  *cache.Store
	addr   string
	prefix string
	http   *http.Server
	done   chan struct{} // closed when the accept loop has ended
	stop   func() bool   // of the watch on Serve's context

	mu      sync.Mutex
	closed  bool
	serving sync.WaitGroup        // requests
	tags    map[string]cache.Blob // by "repository:tag"
	uploads map[string]*upload
}

// Serve starts a registry over store on a free port of 127.0.0.1. It serves
// until Close is called or ctx is done; Close must be called in both cases.
func Serve(ctx context.Context, store *cache.Store) (*Server, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start embedded registry: %w", err)
	}
	s := &Server{
		store:   store,
		addr:    l.Addr().String(),
		prefix:  strings.ToLower(rand.Text()),
		done:    make(chan struct{}),
		tags:    map[string]cache.Blob{},
		uploads: map[string]*upload{},
	}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.handle),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       5 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	go func() {
		defer close(s.done)
		s.http.Serve(l) // ends when closed; requests report their own errors
	}()
	s.stop = context.AfterFunc(ctx, func() { s.http.Close() })
	return s, nil
}

// Addr returns host and port: "127.0.0.1:41234".
func (s *Server) Addr() string { return s.addr }

// Repository returns the path segment that every repository starts with. The
// reference of an image is Addr/Repository/NAME@DIGEST.
func (s *Server) Repository() string { return s.prefix }

// Ref returns the reference of a manifest in the repository of that name below
// the server's own: "127.0.0.1:41234/RANDOM/NAME@sha256:…".
func (s *Server) Ref(name string, d cache.Digest) string {
	return s.addr + "/" + s.prefix + "/" + name + "@" + d.String()
}

// Publish makes an image of the store pullable from the repository name, by its
// digest and by tags, and returns its reference by digest. All its blobs must be
// in the store; the error wraps [cache.ErrMiss] if one is not.
func (s *Server) Publish(name string, desc cache.Blob, tags ...string) (ref string, err error) {
	if !repositoryName.MatchString(name) {
		return "", fmt.Errorf("publish %s: %.100q is not a repository name", desc.Digest, name)
	}
	img, err := ReadImage(s.store, desc)
	if err != nil {
		return "", fmt.Errorf("publish %s: %w", name, err)
	}
	for _, t := range tags {
		if !isTag(t) {
			return "", fmt.Errorf("publish %s: %.150q is not a tag", name, t)
		}
		s.setTag(name, t, img.Blobs[0])
	}
	return s.Ref(name, desc.Digest), nil
}

func (s *Server) setTag(repository, tag string, m cache.Blob) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tags[repository+":"+tag] = m
}

// Close ends all connections, waits for their requests to return, and drops
// uploads that were not finished.
func (s *Server) Close() error {
	s.stop()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	err := s.http.Close()
	<-s.done
	s.serving.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, u := range s.uploads {
		u.blob.Close()
		delete(s.uploads, id)
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close embedded registry: %w", err)
	}
	return nil
}

// enter counts a request in, unless the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.serving.Add(1)
	return true
}

// Grammar of the OCI distribution spec, section "Pulling manifests"; of a tag it is
// isTag that counts its length.
var (
	repositoryName = lazyregexp.New(`^[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagName        = lazyregexp.New(`^[a-zA-Z0-9_][a-zA-Z0-9._-]*$`)
)

func isTag(s string) bool { return len(s) <= 128 && tagName.MatchString(s) }

// apiError is an answer other than success, with a code of the distribution
// spec, section "Error codes".
type apiError struct {
	status  int
	code    string
	message string
}

func (e apiError) Error() string { return e.message }

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if !s.enter() {
		panic(http.ErrAbortHandler)
	}
	defer s.serving.Done()
	if err := s.route(w, r); err != nil {
		var e apiError
		if !errors.As(err, &e) {
			e = apiError{http.StatusInternalServerError, "UNKNOWN", err.Error()}
		}
		body, _ := json.Marshal(map[string]any{"errors": []map[string]string{{"code": e.code, "message": e.message}}})
		w.Header().Del("Content-Length")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(e.status)
		w.Write(body)
	}
}

// route finds what a request is for and returns its failure, if nothing of an
// answer has been written.
func (s *Server) route(w http.ResponseWriter, r *http.Request) error {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	if r.URL.Path == "/v2/" || r.URL.Path == "/v2" {
		w.Header().Set("Content-Type", "application/json")
		_, err := io.WriteString(w, "{}")
		return err
	}
	notFound := apiError{http.StatusNotFound, "NAME_UNKNOWN", "no such repository"}
	prefix, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/")
	if subtle.ConstantTimeCompare([]byte(prefix), []byte(s.prefix)) != 1 {
		return notFound
	}
	elems := strings.Split(strings.TrimSuffix(rest, "/"), "/")
	// at splits off the name before what kind of thing the path ends in.
	at := func(fromEnd int, kind string) (name string, ok bool) {
		i := len(elems) - fromEnd
		if i < 1 || elems[i] != kind {
			return "", false
		}
		name = strings.Join(elems[:i], "/")
		return name, repositoryName.MatchString(name)
	}
	last := elems[len(elems)-1]
	if name, ok := at(2, "blobs"); ok && last == "uploads" {
		return s.startUpload(w, r, name)
	}
	if name, ok := at(3, "blobs"); ok && elems[len(elems)-2] == "uploads" {
		return s.continueUpload(w, r, name, last)
	}
	if _, ok := at(2, "blobs"); ok {
		return s.blob(w, r, last)
	}
	if name, ok := at(2, "manifests"); ok {
		return s.manifest(w, r, name, last)
	}
	if name, ok := at(2, "tags"); ok && last == "list" {
		return s.listTags(w, r, name)
	}
	return notFound
}

func unsupported(r *http.Request) error {
	return apiError{http.StatusMethodNotAllowed, "UNSUPPORTED", r.Method + " is not supported here"}
}
