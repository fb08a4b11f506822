package remote

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"bottlebuild/cache"
)

// Writes reports whether anything is ever sent.
func (c *Cache) Writes() bool {
	for _, r := range c.repos {
		if r.write {
			return true
		}
	}
	return false
}

// Reads reports whether anything is ever looked for.
func (c *Cache) Reads() bool {
	for _, r := range c.repos {
		if r.read {
			return true
		}
	}
	return false
}

// Stored reports whether every registry that may be written to is known to have a
// valid record of k.
func (c *Cache) Stored(k cache.Key) bool {
	for _, r := range c.repos {
		if r.write && !r.has(k) {
			return false
		}
	}
	return true
}

// Publish sends an entry whose blobs are in the store to the registries that may
// be written to and have no valid record of it. It returns at once; [Cache.Flush]
// waits. A failure is told as a notice and is nobody's error.
func (c *Cache) Publish(e *cache.Entry) {
	for _, r := range c.repos {
		if !r.write || e.From == r.name && !r.fresh && len(r.policy.verifiers) == 0 || r.has(e.Key) {
			continue
		}
		at := place{r, e.Key}
		if !c.start(at) {
			continue // another node does the same work
		}
		c.pushing.Go(func() {
			defer c.end(at)
			select {
			case c.pushes <- struct{}{}:
				defer func() { <-c.pushes }()
			case <-c.pushCtx.Done():
				return
			}
			if err := c.publish(c.pushCtx, r, e); err != nil && c.pushCtx.Err() == nil && !errors.Is(err, errGivenUp) {
				c.notice(fmt.Sprintf("shared cache %s: %s was not stored: %v", r.name, e.Address, err))
			}
		})
	}
}

// start reports whether nobody sends that entry already.
func (c *Cache) start(at place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	under := c.sending[at]
	c.sending[at] = true
	return !under
}

func (c *Cache) end(at place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sending, at)
}

func (c *Cache) publish(ctx context.Context, r *repository, e *cache.Entry) error {
	raw, err := r.getRecord(ctx, transport.PushScope, e.Key)
	if err == nil {
		if _, err = r.accept(raw, e.Key); err == nil {
			return nil // records are written once
		}
	}
	if refuses(err) {
		r.client.health.giveUp(err)
	}
	if !errors.Is(err, errNoRecord) && !errors.Is(err, ErrUntrusted) {
		return err
	}
	env, err := c.statementFor(r, e)
	if err != nil {
		return err
	}
	u, err := prepare(c.conf.Store, e, env)
	if err != nil {
		return err
	}
	var step Step = unseen{}
	if c.conf.Sending != nil {
		step = c.conf.Sending(e, r.name)
	}
	err = r.client.push(ctx, c.conf.Store, u, recordTag(e.Key), transfer{c.sent, step})
	step.Done(err)
	if err != nil {
		if refuses(err) {
			r.client.health.giveUp(err)
		}
		return err
	}
	c.stats.pushedEntries.Add(1)
	r.remember(e.Key, knownRecord{envelope: env, partial: e.Partial})
	if e.Statement != "" || len(env.signatures) == 0 {
		return nil
	}
	// The signature stays with the entry. Without, it can be published again.
	_ = c.own(*e)
	return nil
}

// statementFor returns the statement about an entry that r's readers are to believe:
// that which is known, or this cache's own. The error says why there is none.
func (c *Cache) statementFor(r *repository, e *cache.Entry) (*envelope, error) {
	believed := func(env *envelope) error {
		_, err := r.policy.open(env, e.Key, time.Now())
		return err
	}
	if env := c.statementOf(e); env != nil && believed(env) == nil {
		return env, nil
	}
	env, err := c.ownStatement(e, r.policy.scope)
	if err == nil {
		err = believed(env)
	}
	switch {
	case err == nil || !errors.Is(err, ErrUntrusted):
		return env, err
	case e.From != "":
		return nil, fmt.Errorf("it was not made here but comes from %s, and nobody who is trusted here has signed it; make it here to sign it: bottlebuild warm --force '%s'", e.From, e.Address)
	}
	return nil, fmt.Errorf("nobody would believe it: only signed results are used here, and there is no key to sign with (--cache-sign-key)")
}

func (c *Cache) sent(n int64) { c.stats.pushedBytes.Add(n) }

// Sending reports whether something that was published is still to be sent.
func (c *Cache) Sending() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sending) > 0
}

// Flush waits until everything that was published has been sent, and writes the
// snapshot indexes anew. When ctx ends, what is under way is called off.
func (c *Cache) Flush(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { c.stopPush(context.Cause(ctx)) })
	defer stop()
	c.pushing.Wait()
	for _, r := range c.repos {
		if !r.write || c.pushCtx.Err() != nil {
			continue
		}
		if err := r.putIndex(c.pushCtx, transfer{c.sent, unseen{}}); err != nil && c.pushCtx.Err() == nil && !errors.Is(err, errGivenUp) {
			c.notice(fmt.Sprintf("shared cache %s: its snapshot index was not written: %v", r.name, err))
		}
	}
}
