package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

// PruneOptions say which records of a registry are to go. Those that were used
// least recently go first. A record was last used when it was made, or when a
// snapshot index that names it was written, whichever is later.
type PruneOptions struct {
	MaxAge  time.Duration // since its last use; 0: however long
	MaxSize int64         // bytes that records may need; below zero: any number
	All     bool
	DryRun  bool // only tells what would go
}

// PruneReport is what a prune of one repository did, or would do.
type PruneReport struct {
	Repository string `json:"repository"`
	Records    int    `json:"records"` // removed
	Kept       int    `json:"kept"`    // records
	Freed      int64  `json:"freed"`   // bytes that nothing of what is left needs: the registry's garbage collection frees them
	Size       int64  `json:"size"`    // bytes that what is left needs
	Young      int    `json:"young"`   // records over the bounds that were used too lately to go; All removes them
	Foreign    int    `json:"foreign"` // tags that are not bottlebuild's: they and what they name stay
}

// ErrNoDelete is wrapped where a registry does not let anything be deleted.
var ErrNoDelete = errors.New("the registry allows no deletes: distribution's wants storage.delete.enabled, others a permission or a setting of the repository")

// pruneGrace keeps records that are that young, but for All: what belongs to them
// may still be on its way.
const pruneGrace = time.Hour

// Prune removes records from the repositories that may be written to, and the
// manifests that only they name. Nothing else is touched. Snapshot indexes are
// written anew without what goes. Whoever believes in a record that is gone finds
// that out when a blob of it is needed, and does the work again.
func (c *Cache) Prune(ctx context.Context, o PruneOptions) ([]PruneReport, error) {
	var reports []PruneReport
	for _, r := range c.repos {
		if !r.write {
			continue
		}
		p := &remotePruner{repository: r, o: o, now: time.Now(), report: PruneReport{Repository: r.name}, named: map[cache.Digest]int{}, sizes: map[cache.Digest]int64{}}
		err := p.run(ctx)
		reports = append(reports, p.report)
		if err != nil {
			return reports, fmt.Errorf("prune %s: %w", r.name, err)
		}
	}
	return reports, nil
}

type remotePruner struct {
	*repository
	o      PruneOptions
	now    time.Time
	report PruneReport

	records []*remoteRecord
	indexes []*remoteIndex
	// What manifests of records and of foreign tags name, themselves included: how
	// many of them do, and how large it is.
	named map[cache.Digest]int
	sizes map[cache.Digest]int64
}

// remoteRecord is a record with what it needs.
type remoteRecord struct {
	key      cache.Key
	manifest cache.Digest
	used     time.Time
	needs    []cache.Digest // blobs and manifests, its own included
	children []cache.Digest // manifests among them, outer ones first
}

// remoteIndex is a snapshot index.
type remoteIndex struct {
	tag     string
	digest  cache.Digest
	created time.Time
	known   *known
}

func (p *remotePruner) run(ctx context.Context) error {
	if err := p.survey(ctx); err != nil {
		return err
	}
	doomed := p.choose()
	p.report.Records, p.report.Kept = len(doomed), len(p.records)-len(doomed)
	if p.o.DryRun || len(doomed) == 0 {
		return nil
	}
	// The first shows whether the registry takes part at all.
	if err := p.delete(ctx, doomed[0].manifest); err != nil {
		return err
	}
	gone := map[cache.Key]bool{}
	for _, r := range doomed {
		gone[r.key] = true
	}
	if err := p.rewriteIndexes(ctx, gone); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneRequests)
	for _, r := range doomed[1:] {
		g.Go(func() error { return p.delete(gctx, r.manifest) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	done := map[cache.Digest]bool{}
	for _, r := range doomed {
		for _, d := range r.children {
			if p.named[d] > 0 || done[d] {
				continue
			}
			done[d] = true
			if err := p.delete(ctx, d); err != nil {
				return err
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load()
	maps.DeleteFunc(p.known.records, func(k cache.Key, _ knownRecord) bool { return gone[k] })
	p.change()
	return nil
}

// choose returns the records that go, and takes what only they need out of named.
func (p *remotePruner) choose() (gone []*remoteRecord) {
	for _, n := range p.sizes {
		p.report.Size += n
	}
	slices.SortFunc(p.records, func(a, b *remoteRecord) int {
		return cmp.Or(a.used.Compare(b.used), compareKeys(a.key, b.key))
	})
	for _, r := range p.records {
		if p.named[r.manifest] > 1 {
			continue // it has another tag, which would go with it
		}
		old := p.o.All || p.o.MaxAge > 0 && p.now.Sub(r.used) > p.o.MaxAge
		if !old && (p.o.MaxSize < 0 || p.report.Size <= p.o.MaxSize) {
			break // those that follow were used later
		}
		if p.now.Sub(r.used) < pruneGrace && !p.o.All {
			p.report.Young++
			continue
		}
		gone = append(gone, r)
		for _, d := range r.needs {
			if p.named[d]--; p.named[d] == 0 {
				p.report.Freed += p.sizes[d]
				p.report.Size -= p.sizes[d]
			}
		}
	}
	return gone
}

// delete removes a manifest by its digest, and with it its tags.
func (p *remotePruner) delete(ctx context.Context, d cache.Digest) error {
	err := p.client.again(ctx, func(ctx context.Context, _ func()) error {
		resp, err := p.client.send(ctx, http.MethodDelete, deleteScope, "manifests", d.String(), nil)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 && resp.StatusCode != http.StatusNotFound {
			return answered(resp)
		}
		return nil
	})
	switch status(err) {
	case http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusForbidden, http.StatusUnauthorized, http.StatusBadRequest:
		return fmt.Errorf("%w (%w)", ErrNoDelete, err)
	}
	return err
}

// deleteScope is the access that a prune asks for.
const deleteScope = "pull,push,delete"

// rewriteIndexes writes the snapshot indexes without the records that go.
func (p *remotePruner) rewriteIndexes(ctx context.Context, gone map[cache.Key]bool) error {
	for _, ix := range p.indexes {
		before := len(ix.known.records)
		maps.DeleteFunc(ix.known.records, func(k cache.Key, _ knownRecord) bool { return gone[k] })
		var err error
		switch len(ix.known.records) {
		case before:
		case 0:
			err = p.delete(ctx, ix.digest)
		default:
			_, err = p.client.putKnown(ctx, ix.tag, ix.known, ix.created, transfer{func(int64) {}, unseen{}})
		}
		if err != nil {
			return fmt.Errorf("snapshot index %s: %w", ix.tag, err)
		}
	}
	return nil
}
