package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
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

// resolveImage returns the digest of an image reference.
func (w *Worker) resolveImage(ctx context.Context, ref string) (cache.Digest, error) {
	name, err := buildkit.FullName(ref)
	if err != nil {
		return cache.Digest{}, fmt.Errorf("image reference %.300q: %w", ref, err)
	}
	if d, ok := buildkit.DigestIn(name); ok {
		return cache.ParseDigest(d)
	}
	p := Pin{PinImage, name}
	text, err := w.pin(p, func() (string, error) { return w.lookUp(ctx, p) })
	if err != nil {
		return cache.Digest{}, err
	}
	return cache.ParseDigest(text)
}

// resolveBase is what the analysis asks about base images.
func (w *Worker) resolveBase(ctx context.Context, ref, platform string) (digest string, config []byte, err error) {
	d, err := w.resolveImage(ctx, ref)
	if err != nil {
		return "", nil, err
	}
	config, _, err = w.Registry.Config(ctx, ref, d, platform)
	if _, locked := w.Pins[Pin{PinImage, ref}]; locked && err != nil && !errors.Is(err, registry.ErrUnavailable) {
		err = fmt.Errorf("%w; the lock file pins this digest: if it is gone for good, take another with: bottlebuild lock --upgrade %s", err, ref)
	}
	return d.String(), config, err
}

// resolveRemotes fills in what the Git and HTTP sources of an analysis stand for.
func (w *Worker) resolveRemotes(ctx context.Context, a *buildkit.Analysis) error {
	for i := range a.Git {
		r := &a.Git[i]
		if r.Pinned() {
			continue
		}
		p := Pin{PinGit, gitName(*r)}
		var err error
		if r.Checksum, err = w.pin(p, func() (string, error) { return w.lookUp(ctx, p) }); err != nil {
			return fmt.Errorf("resolve %s: %w", r.URL, err)
		}
	}
	for i := range a.HTTP {
		r := &a.HTTP[i]
		if r.Checksum != "" {
			continue
		}
		p := Pin{PinHTTP, r.URL}
		var err error
		if r.Checksum, err = w.pin(p, func() (string, error) { return w.lookUp(ctx, p) }); err != nil {
			return fmt.Errorf("resolve %s: %w", r.URL, err)
		}
	}
	return nil
}

func hasDigest(ref string) bool {
	_, ok := buildkit.DigestIn(ref)
	return ok
}

// names returns the pins that an analysis is about.
func names(a *buildkit.Analysis) []Pin {
	var pins []Pin
	for _, i := range a.Images {
		if !hasDigest(i.Ref) {
			pins = append(pins, Pin{PinImage, i.Ref})
		}
	}
	for _, r := range a.Git {
		if !r.Pinned() {
			pins = append(pins, Pin{PinGit, gitName(r)})
		}
	}
	for _, r := range a.HTTP {
		if r.Checksum == "" {
			pins = append(pins, Pin{PinHTTP, r.URL})
		}
	}
	return pins
}

// CheckLocked reports, all at once, the names that nodes use and pins lack. It
// needs neither a cache nor a network: since nothing is asked of base images,
// what their triggers name comes up only when a plan is made.
func CheckLocked(ctx context.Context, nodes []*graph.Node, pins Pins, platform string) error {
	order, err := graph.Sort(nodes)
	if err != nil {
		return err
	}
	w := &Worker{Pins: pins, Platform: platform}
	var errs []error
	for _, n := range order {
		if n.Kind != KindImage {
			continue
		}
		all, err := w.outline(ctx, n)
		missing := slices.DeleteFunc(all, func(p Pin) bool { _, ok := pins[p]; return ok })
		if len(missing) > 0 {
			err = &UnpinnedError{missing}
		}
		if err != nil && !errors.Is(err, graph.ErrUnknown) {
			errs = append(errs, &graph.NodeError{Node: n, Err: err})
		}
	}
	return errors.Join(errs...)
}

// outline returns the names that an image uses.
func (w *Worker) outline(ctx context.Context, n *graph.Node) ([]Pin, error) {
	p, err := imageParams(n)
	if err != nil {
		return nil, err
	}
	if p.Ref != "" {
		return names(&buildkit.Analysis{Images: []buildkit.BaseImage{{Ref: fullName(p.Ref)}}}), nil
	}
	if p.Remote != "" && p.DockerfileInline == "" {
		// What its Dockerfile names comes up when a plan is made.
		g, _, err := buildkit.ParseGit(p.Remote)
		if err != nil || g.Pinned() {
			return nil, err
		}
		return []Pin{{PinGit, g.Name()}}, nil
	}
	def, _, err := w.definition(ctx, p, nil)
	if err != nil {
		return nil, err
	}
	a, err := buildkit.Analyze(ctx, buildkit.AnalyzeRequest{
		Definition: def, BuildPlatform: w.Platform, Outline: true,
		Resolve: func(context.Context, string, string) (string, []byte, error) {
			return cache.Digest{}.String(), []byte("{}"), nil
		},
	})
	if err != nil {
		return nil, err
	}
	if scanner := buildkit.Scanner(p.Attest); scanner != "" {
		a.Images = append(a.Images, buildkit.BaseImage{Ref: fullName(scanner)})
	}
	return names(a), nil
}

// imageParams returns the parameters of an image as far as they are known before
// anything has run.
func imageParams(n *graph.Node) (Image, error) {
	params, err := n.Bind(nil)
	if err != nil {
		return Image{}, err
	}
	p, ok := params.(Image)
	if !ok {
		return Image{}, fmt.Errorf("no parameters of an image: %T", params)
	}
	return p, nil
}

// fullName is buildkit.FullName for a reference that was checked when the bottle
// file was read.
func fullName(ref string) string {
	if name, err := buildkit.FullName(ref); err == nil {
		return name
	}
	return ref
}

// Lock returns what the names that the nodes use stand for. Those in w.Pins stay
// what they are. undecided are the addresses of images whose names depend on
// what is known only when other images have been built.
func (w *Worker) Lock(ctx context.Context, nodes []*graph.Node) (pins Pins, undecided []string, err error) {
	order, err := graph.Sort(nodes)
	if err != nil {
		return nil, nil, err
	}
	pins = Pins{}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(lockJobs)
	errs := make([]error, len(order))
	for i, n := range order {
		if n.Kind != KindImage {
			continue
		}
		g.Go(func() error {
			found, err := w.lockImage(ctx, n)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case errors.Is(err, graph.ErrUnknown):
				undecided = append(undecided, n.Address)
			case err != nil:
				errs[i] = &graph.NodeError{Node: n, Err: err}
			}
			maps.Copy(pins, found)
			return nil
		})
	}
	_ = g.Wait() // errors are in errs
	slices.Sort(undecided)
	return pins, undecided, errors.Join(errs...)
}

// lockJobs is how many images are looked at side by side: most of the time goes
// into waiting for registries.
const lockJobs = 8

func (w *Worker) lockImage(ctx context.Context, n *graph.Node) (Pins, error) {
	p, err := imageParams(n)
	if err != nil {
		return nil, err
	}
	found := Pins{}
	if p.Ref != "" {
		d, err := w.resolveImage(ctx, p.Ref)
		if err != nil {
			return nil, err
		}
		if name := fullName(p.Ref); !hasDigest(name) {
			found[Pin{PinImage, name}] = d.String()
		}
		return found, nil
	}
	def, _, err := w.definition(ctx, p, nil)
	if err != nil {
		return nil, err
	}
	a, err := buildkit.Analyze(ctx, buildkit.AnalyzeRequest{
		Definition: def, BuildPlatform: w.Platform, Store: w.Store, Outline: true, Resolve: w.resolveBase,
	})
	if err != nil {
		return nil, err
	}
	if scanner := buildkit.Scanner(p.Attest); scanner != "" {
		d, err := w.resolveImage(ctx, scanner)
		if err != nil {
			return nil, err
		}
		a.Images = append(a.Images, buildkit.BaseImage{Ref: fullName(scanner), Digest: d.String()})
	}
	open := names(a)
	if err := w.resolveRemotes(ctx, a); err != nil {
		return nil, err
	}
	values := Pins{}
	for _, i := range a.Images {
		values[Pin{PinImage, i.Ref}] = i.Digest
	}
	for _, r := range a.Git {
		values[Pin{PinGit, gitName(r)}] = r.Checksum
	}
	for _, r := range a.HTTP {
		values[Pin{PinHTTP, r.URL}] = r.Checksum
	}
	for _, p := range open {
		found[p] = values[p]
	}
	return found, nil
}

// Move is a name that stands for something else by now than the lock file says.
type Move struct {
	Pin
	Locked, Now string
	Nodes       []string // addresses of the images that use it, sorted
}

// movedWait bounds how long it is waited for what names stand for by now, where
// that is only news.
const movedWait = 3 * time.Second

// Moved returns which of the pins that have been used so far stand for something
// else by now. What cannot be found out in a few seconds is left out: nothing
// depends on it.
func (w *Worker) Moved(ctx context.Context) []Move {
	ctx, cancel := context.WithTimeout(ctx, movedWait)
	defer cancel()
	r := &w.resolutions
	r.mu.Lock()
	used := maps.Clone(r.users)
	r.mu.Unlock()
	var mu sync.Mutex
	var moves []Move
	var g errgroup.Group
	g.SetLimit(lockJobs)
	for p, users := range used {
		locked, ok := w.Pins[p]
		if !ok {
			continue
		}
		g.Go(func() error {
			now, err := w.lookUp(ctx, p)
			if err == nil && now != locked {
				mu.Lock()
				defer mu.Unlock()
				moves = append(moves, Move{p, locked, now, slices.Sorted(maps.Keys(users))})
			}
			return nil
		})
	}
	_ = g.Wait() // it has none
	slices.SortFunc(moves, func(a, b Move) int { return a.Compare(b.Pin) })
	return moves
}

// lookUp asks the world what a name stands for.
func (w *Worker) lookUp(ctx context.Context, p Pin) (string, error) {
	switch p.Kind {
	case PinGit:
		return w.resolveGit(ctx, p.Name)
	case PinHTTP:
		return w.resolveHTTP(ctx, p.Name)
	}
	d, err := w.Registry.Resolve(ctx, p.Name, false)
	return d.String(), err
}
