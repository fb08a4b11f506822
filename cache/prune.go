package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// PruneOptions say what is to go. The entries that were used least recently go
// first, each with the blobs that nothing else needs.
type PruneOptions struct {
	// MaxAge is how long something may not have been used; 0: however long.
	MaxAge time.Duration
	// MaxSize is how many bytes may stay; below zero: any number.
	MaxSize int64
	// Reserved is how many of these bytes are taken by what others keep in the
	// directory.
	Reserved int64
	// All removes everything that nobody needs now.
	All bool
	// DryRun only tells what would go.
	DryRun bool
	// Slice is how long others are kept waiting at once; 0 stands for 25 ms.
	Slice time.Duration
}

// PruneReport is what a [Store.Prune] did, or would do.
type PruneReport struct {
	Entries int   `json:"entries"` // removed, or kept only to explain later misses
	Blobs   int   `json:"blobs"`   // removed
	Files   int   `json:"files"`   // other files removed
	Freed   int64 `json:"freed"`   // bytes
	Size    int64 `json:"size"`    // bytes that are left of entries and blobs
	// Held is how many entries would have gone if no process or machine needed them.
	Held  int                  `json:"held"`
	Kinds map[string]KindPrune `json:"kinds"` // by kind of entry

	Slices       int           `json:"-"`
	LongestSlice time.Duration `json:"-"`
}

// KindPrune is how much of one kind went.
type KindPrune struct {
	Entries int   `json:"entries"`
	Bytes   int64 `json:"bytes"` // with blobs
}

// ErrBusy is wrapped by the error of a prune while another goes on.
var ErrBusy = errors.New("another process is pruning the cache")

// Prune removes what the options say, and what nothing refers to. What a process
// with a lease uses and what is pinned stays. It goes in slices: others wait for
// the store at most o.Slice at once, and when ctx ends, it stops within one.
// What is removed by then is in the report.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (*PruneReport, error) {
	r := &PruneReport{Kinds: map[string]KindPrune{}}
	if o.Slice == 0 {
		o.Slice = sliceTime
	}
	if !o.DryRun {
		unlock, err := s.lockPrune()
		if err != nil {
			return r, fmt.Errorf("prune: %w", err)
		}
		defer unlock()
		if err := s.Sweep(); err != nil {
			return r, err
		}
		if _, err := s.Pins(true); err != nil {
			return r, err
		}
	}
	p := &pruner{s: s, o: o, report: r, start: time.Now()}
	if err := p.run(ctx); err != nil {
		return r, fmt.Errorf("prune: %w", err)
	}
	return r, nil
}

// lockPrune keeps others from pruning until unlock is called. The error wraps
// [ErrBusy] if one of them does already.
func (s *Store) lockPrune() (unlock func(), err error) {
	unlock, ok, err := s.tryLockFile("prune")
	if err == nil && !ok {
		err = ErrBusy
	}
	return unlock, err
}

type pruner struct {
	s      *Store
	o      PruneOptions
	report *PruneReport
	start  time.Time
	view   *survey
	latest map[Key]time.Time // newest key of an address, and since when

	// since is the time from which on a blob may have come to be needed while
	// the survey was made: the begin of the oldest lease there was by then.
	since time.Time
	held  time.Time // as of heldSince, for this slice

	unlock  func() // ends the slice
	sliceAt time.Time
	later   []string // to be removed when it has ended
	size    int64    // bytes left
}

func (p *pruner) run(ctx context.Context) (err error) {
	// A lease that this store still has from writing protects nothing any more.
	p.s.lease.endImplicit()
	if err := p.begin(ctx); err != nil {
		return err
	}
	p.since = p.start.Add(-clockMargin)
	if oldest := p.held.Add(useInterval); oldest.Before(p.since) {
		p.since = oldest
	}
	p.end()
	if p.view, err = p.s.look(ctx); err != nil {
		return err
	}
	if p.latest, err = p.s.latestKeys(); err != nil {
		return err
	}
	if !p.o.DryRun {
		if err := p.s.removePruned(); err != nil {
			return err
		}
	}
	p.size = p.o.Reserved
	for _, b := range p.view.blobs {
		p.size += b.size
	}
	for _, e := range p.view.entries {
		p.size += e.size
	}
	p.byUse()
	if err := p.begin(ctx); err != nil {
		return err
	}
	defer p.end()
	for _, step := range []func(context.Context) error{p.unreferenced, p.damaged, p.entries, p.records} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	p.report.Size = p.size - p.o.Reserved
	p.end()
	return p.s.pruneTags(ctx, p.o.DryRun)
}
