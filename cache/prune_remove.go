package cache

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"
)

// explainTime is how long an entry without blobs is kept to explain a miss.
const explainTime = 90 * 24 * time.Hour

// bigBlob is from how many bytes on a blob is removed outside the lock, as that
// takes long. A variable for tests.
var bigBlob int64 = 32 << 20

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

// byUse sorts the entries, the least recently used first.
func (p *pruner) byUse() {
	slices.SortFunc(p.view.entries, func(a, b *entryState) int {
		return cmp.Or(a.used.Compare(b.used), slices.Compare(a.key[:], b.key[:]))
	})
}

// entries removes entries in their order until what is left is within the bounds.
func (p *pruner) entries(ctx context.Context) error {
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

func (p *pruner) freed(n int64) {
	p.size -= n
	p.report.Freed += n
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
