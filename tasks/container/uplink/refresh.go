package uplink

import (
	"context"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// How often an allowed name is looked up again: when its addresses are out of
// date, within these bounds.
const (
	refreshMin   = time.Minute
	refreshAfter = 5 * time.Minute // where there is no answer
)

// refresh keeps the addresses of the names that are allowed one by one, so that a
// program that has them from elsewhere, or from long ago, reaches them too.
func (r *resolver) refresh(ctx context.Context, name string) {
	n, err := dnsmessage.NewName(name + ".")
	if err != nil {
		return
	}
	for ctx.Err() == nil {
		wait := refreshAfter
		if _, _, ttl, err := r.lookup(ctx, n); err == nil {
			wait = max(ttl, refreshMin)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// expire takes away, now and then, what no name has led to for a while.
func (r *resolver) expire(ctx context.Context) {
	for tick := time.NewTicker(graceMin); ; {
		select {
		case <-ctx.Done():
			tick.Stop()
			return
		case now := <-tick.C:
			r.policy.forget(now)
		}
	}
}
