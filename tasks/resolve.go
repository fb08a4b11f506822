package tasks

import (
	"context"
	"errors"
	"fmt"

	"bottlebuild/cache"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
)

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

// fullName is buildkit.FullName for a reference that was checked when the bottle
// file was read.
func fullName(ref string) string {
	if name, err := buildkit.FullName(ref); err == nil {
		return name
	}
	return ref
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
