package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
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
	// Slice is how long others are kept waiting at once; 0 stands for 50 ms.
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

const (
	sliceTime = 50 * time.Millisecond
	// explainTime is how long an entry without blobs is kept to explain a miss.
	explainTime = 90 * 24 * time.Hour
)

// bigBlob is from how many bytes on a blob is removed outside the lock, as that
// takes long. A variable for tests.
var bigBlob int64 = 32 << 20

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
		unlock, ok, err := s.tryLockFile("prune")
		if err == nil && !ok {
			err = ErrBusy
		}
		if err != nil {
			return r, fmt.Errorf("prune: %w", err)
		}
		defer unlock()
		if err := errors.Join(s.Sweep(), s.sweepLocks(ctx)); err != nil {
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

// unreferenced removes the blobs that no entry and no pin needs.
func (p *pruner) unreferenced(ctx context.Context) error {
	for _, b := range p.view.blobs {
		if b.refs > 0 {
			continue
		}
		if err := p.next(ctx); err != nil {
			return err
		}
		if _, err := p.blob(b); err != nil {
			return err
		}
	}
	return nil
}

// damaged puts files out of the way that are no entries, unless they have been
// replaced.
func (p *pruner) damaged(ctx context.Context) error {
	for _, name := range p.view.damaged {
		if err := p.next(ctx); err != nil {
			return err
		}
		fi, err := p.s.root.Lstat(name)
		if err != nil || p.o.DryRun || !fi.ModTime().Before(p.since) {
			continue
		}
		if err := p.s.quarantine(name); err != nil {
			return err
		}
	}
	return nil
}

// entries removes entries, the least recently used first, until what is left is
// within the bounds.
func (p *pruner) entries(ctx context.Context) error {
	slices.SortFunc(p.view.entries, func(a, b *entryState) int {
		return cmp.Or(a.used.Compare(b.used), slices.Compare(a.key[:], b.key[:]))
	})
	for _, e := range p.view.entries {
		old := p.o.All || p.o.MaxAge > 0 && e.used.Before(p.start.Add(-p.o.MaxAge))
		if !old && (p.o.MaxSize < 0 || p.size <= p.o.MaxSize) {
			break // those that follow were used later
		}
		if err := p.next(ctx); err != nil {
			return err
		}
		if err := p.entry(e); err != nil {
			return err
		}
	}
	return nil
}

func (p *pruner) entry(e *entryState) error {
	// The newest entry of an address explains its next miss, by its recipe.
	latest, ok := p.latest[e.key]
	explains := ok && len(e.output) > 0 && !p.o.All &&
		(latest.After(p.start.Add(-explainTime)) || e.used.After(p.start.Add(-explainTime)))
	if explains && !e.whole {
		return nil // its blobs are gone already
	}
	name := entryPath(e.key)
	fi, err := p.s.root.Lstat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case e.pinned(), !fi.ModTime().Before(p.held):
		p.report.Held++
		return nil
	case !fi.ModTime().Equal(e.used):
		return nil // used or replaced since
	}
	freed := int64(0)
	if !explains {
		if !p.o.DryRun {
			if err := p.s.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		freed += e.size
		p.freed(e.size)
	}
	if e.whole {
		for _, b := range e.all() {
			b.refs--
			if b.refs > 0 {
				continue
			}
			n, err := p.blob(b)
			if err != nil {
				return err
			}
			freed += n
		}
	}
	p.report.Entries++
	k := p.report.Kinds[e.kind]
	p.report.Kinds[e.kind] = KindPrune{k.Entries + 1, k.Bytes + freed}
	return nil
}

// blob removes a blob that nothing refers to, unless it was used meanwhile, and
// returns how many bytes that freed.
func (p *pruner) blob(b *blobState) (int64, error) {
	if b.gone {
		return 0, nil
	}
	name := blobPath(b.digest)
	fi, err := p.s.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if !fi.ModTime().Before(p.since) || !fi.ModTime().Before(p.held) {
		return 0, nil
	}
	if !p.o.DryRun {
		if fi.Size() < bigBlob {
			err = p.s.root.Remove(name)
		} else {
			to := path.Join("tmp", prunedPrefix+b.digest.Hex())
			if err = p.s.root.Rename(name, to); err == nil {
				p.later = append(p.later, to)
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	b.gone = true
	p.report.Blobs++
	p.freed(b.size)
	return b.size, nil
}

// prunedPrefix starts the names in tmp/ of blobs that have been pruned.
const prunedPrefix = "pruned-"

// removePruned removes what a prune that was killed has left; this is the only
// one now.
func (s *Store) removePruned() error {
	for e, err := range eachName(s.root, "tmp") {
		if err == nil && strings.HasPrefix(e.Name(), prunedPrefix) {
			err = s.root.RemoveAll(path.Join("tmp", e.Name()))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (p *pruner) freed(n int64) {
	p.size -= n
	p.report.Freed += n
}

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
