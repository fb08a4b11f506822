package cache

import (
	"context"
	"time"
)

// sliceTime is how long others wait for a prune at once.
const sliceTime = 25 * time.Millisecond

// begin starts a slice: until end, nobody comes to rely on anything that is not
// known to be in use.
func (p *pruner) begin(ctx context.Context) (err error) {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.o.DryRun {
		p.held, err = p.s.heldSince()
		return err
	}
	if p.unlock, err = p.s.lockExclusive(); err != nil {
		return err
	}
	p.sliceAt = time.Now()
	if p.held, err = p.s.heldSince(); err != nil {
		p.end()
	}
	return err
}

// end ends the slice, if one has begun.
func (p *pruner) end() {
	if p.unlock != nil {
		p.unlock()
		p.unlock = nil
		p.report.Slices++
		p.report.LongestSlice = max(p.report.LongestSlice, time.Since(p.sliceAt))
	}
	for _, name := range p.later {
		p.s.root.Remove(name) // failing that, a sweep does
	}
	p.later = nil
}

// next lets others in if the slice has been long enough.
func (p *pruner) next(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if p.o.DryRun || time.Since(p.sliceAt) < p.o.Slice {
		return nil
	}
	p.end()
	return p.begin(ctx)
}
