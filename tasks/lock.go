package tasks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildkit"
)

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
