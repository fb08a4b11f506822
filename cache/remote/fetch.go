package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

// Fetch brings blobs into the store that are not there. The error wraps
// [cache.ErrMiss] where no registry yields one: the records that promised it are
// misses from then on, so that its producer runs when the work is planned again.
// Any other error is ctx's, or this machine's.
func (c *Cache) Fetch(ctx context.Context, blobs []cache.Blob, start Start) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	seen := map[cache.Digest]bool{}
	for _, b := range blobs {
		if seen[b.Digest] || c.conf.Store.HasBlob(b.Digest, b.Size) == nil {
			continue
		}
		seen[b.Digest] = true
		g.Go(func() error { return c.fetch(gctx, b, start) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.settle(seen)
}

// fetch brings one blob. Nobody else fetches it meanwhile: results often share
// layers.
func (c *Cache) fetch(ctx context.Context, b cache.Blob, start Start) error {
	store := c.conf.Store
	unlock, err := store.Lock(ctx, cache.Key(b.Digest))
	if err != nil {
		return err
	}
	defer unlock()
	if store.HasBlob(b.Digest, b.Size) == nil {
		return nil
	}
	why := error(nil)
	for _, r := range c.sources(b.Digest) {
		step := start("fetch " + b.Name + " " + b.Digest.String() + " from " + r.name)
		err := r.client.download(ctx, store, b, step)
		step.Done(err)
		var local *diskError
		switch {
		case err == nil:
			c.stats.fetchedBlobs.Add(1)
			c.stats.fetchedBytes.Add(b.Size)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.As(err, &local):
			return err
		}
		c.deny(r, b.Digest, err)
		why = fmt.Errorf("%s: %w", r.name, err)
	}
	if why == nil {
		why = errors.New("no shared cache is known to have it")
	}
	return fmt.Errorf("fetch blob %s: %w: %w", b.Digest, cache.ErrMiss, why)
}

// sources returns the repositories that may have a blob: those with a record
// that names it, or else every one.
func (c *Cache) sources(d cache.Digest) []*repository {
	c.mu.Lock()
	defer c.mu.Unlock()
	var from []*repository
	for _, h := range c.holders[d] {
		if !slices.Contains(from, h.repo) {
			from = append(from, h.repo)
		}
	}
	if len(from) > 0 {
		return from
	}
	for _, r := range c.repos {
		if r.read {
			from = append(from, r)
		}
	}
	return from
}

// settle puts entries into the store all of whose blobs have arrived: from then
// on they are this machine's own.
func (c *Cache) settle(arrived map[cache.Digest]bool) error {
	if c.conf.LookOnly {
		return nil
	}
	entries := map[cache.Key]*cache.Entry{}
	c.mu.Lock()
	for d := range arrived {
		for _, h := range c.holders[d] {
			entries[h.entry.Key] = h.entry
		}
	}
	c.mu.Unlock()
	for _, e := range entries {
		if !c.complete(e) {
			continue
		}
		if err := c.own(*e); err != nil && !errors.Is(err, cache.ErrMiss) {
			return err
		}
	}
	return nil
}

// own puts an entry into the store whose blobs are all there, with the statement
// that it was found under. The mark comes first, as everywhere: plans must see the
// entry as possible also when no shared cache is asked.
func (c *Cache) own(e cache.Entry) error {
	if e.Statement == "" {
		if env := c.statementOf(&e); env != nil {
			text, err := env.encode()
			if err != nil {
				return err
			}
			e.Statement = string(text)
		}
	}
	if !e.Partial.IsZero() {
		if err := c.conf.Store.Mark(e.Partial); err != nil {
			return err
		}
	}
	return c.conf.Store.Put(&e)
}

func (c *Cache) complete(e *cache.Entry) bool {
	for _, b := range e.Output.Blobs {
		if c.conf.Store.HasBlob(b.Digest, b.Size) != nil {
			return false
		}
	}
	return true
}
