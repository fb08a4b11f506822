package tasks

import (
	"cmp"
	"strings"
	"sync"

	"golang.org/x/sync/singleflight"
)

// Pins say what names that may come to stand for something else stand for.
type Pins map[Pin]string

// Pin is such a name.
type Pin struct {
	Kind PinKind
	// Name is an image reference in full ("docker.io/library/node:22"), a Git
	// URL with its ref ("https://example.com/lib.git#main"), or a URL.
	Name string
}

// PinKind says what a name is of, and so what it is pinned to.
type PinKind string

// The kinds of pins.
const (
	PinImage PinKind = "image" // the digest of a manifest or index: "sha256:…"
	PinGit   PinKind = "git"   // a commit, in hex
	PinHTTP  PinKind = "http"  // the digest of the content: "sha256:…"
)

// Compare orders pins by kind and name.
func (p Pin) Compare(q Pin) int {
	return cmp.Or(cmp.Compare(p.Kind, q.Kind), cmp.Compare(p.Name, q.Name))
}

func (p Pin) String() string { return string(p.Kind) + " " + p.Name }

// UnpinnedError says which names that a build uses are not pinned.
type UnpinnedError struct{ Pins []Pin }

func (e *UnpinnedError) Error() string {
	names := make([]string, len(e.Pins))
	for i, p := range e.Pins {
		names[i] = p.String()
	}
	return "not in the lock file: " + strings.Join(names, ", ") + "; pin with: bottlebuild lock"
}

// resolutions is what names stand for: one run sees one world.
type resolutions struct {
	lookups singleflight.Group

	mu    sync.Mutex
	known map[Pin]string
	users map[Pin]map[string]bool // addresses of nodes, of what is used
	// downloads are what URLs have yielded and SaveDownloads has not saved yet.
	downloads map[string]download
}

// pin returns what a name stands for: what the lock file says, or else what
// lookup finds, which is asked once in a run.
func (w *Worker) pin(p Pin, lookup func() (string, error)) (string, error) {
	if v, ok := w.Pins[p]; ok {
		return v, nil
	}
	if w.Locked {
		return "", &UnpinnedError{[]Pin{p}}
	}
	r := &w.resolutions
	r.mu.Lock()
	v, ok := r.known[p]
	r.mu.Unlock()
	if ok {
		return v, nil
	}
	found, err, _ := r.lookups.Do(p.String(), func() (any, error) { return lookup() })
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[Pin]string{}
	}
	if _, ok := r.known[p]; !ok {
		r.known[p] = found.(string)
	}
	return r.known[p], nil
}

// use notes that the node at address uses what is named by p.
func (r *resolutions) use(p Pin, address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.users == nil {
		r.users = map[Pin]map[string]bool{}
	}
	if r.users[p] == nil {
		r.users[p] = map[string]bool{}
	}
	r.users[p][address] = true
}
