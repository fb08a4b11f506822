package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// VerifyOptions say how to verify.
type VerifyOptions struct {
	Jobs int // how many blobs are read at once; at least 1
	// Progress is told now and then, one call at a time, how many of all bytes
	// have been read; or nil.
	Progress func(done, total int64)
}

// VerifyReport is what a [Store.Verify] found.
type VerifyReport struct {
	Entries int      `json:"entries"`
	Blobs   int      `json:"blobs"`
	Bytes   int64    `json:"bytes"`   // that were read
	Evicted int      `json:"evicted"` // entries whose blobs are gone
	Damaged []string `json:"damaged"` // files of the store, all in quarantine now, with what is wrong
}

// Verify reads every entry and every blob. What is damaged is quarantined, so
// that the next run makes it again. An error is a failure of the disk, or ctx's.
func (s *Store) Verify(ctx context.Context, o VerifyOptions) (*VerifyReport, error) {
	r := &VerifyReport{Damaged: []string{}}
	v, err := s.look(ctx)
	if err != nil {
		return r, err
	}
	for _, e := range v.entries {
		r.Entries++
		if !e.whole {
			r.Evicted++
		}
		err := s.verifyRecipe(e.key)
		if errors.Is(err, ErrDamaged) {
			r.Damaged = append(r.Damaged, err.Error())
		} else if err != nil && !errors.Is(err, ErrMiss) {
			return r, err
		}
	}
	for _, name := range v.damaged {
		k, err := ParseKey(digestPrefix + name[strings.LastIndexByte(name, '/')+1:])
		if err == nil {
			_, err = s.Get(k) // which says what is wrong with it
		}
		if errors.Is(err, ErrDamaged) {
			r.Damaged = append(r.Damaged, err.Error())
		}
	}
	p := &verification{report: r, progress: o.Progress}
	for _, b := range v.blobs {
		p.total += b.size
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(o.Jobs, 1))
	for _, b := range v.blobs {
		g.Go(func() error { return p.blob(ctx, s, b.digest) })
	}
	err = g.Wait()
	slices.Sort(r.Damaged)
	return r, err
}

// verifyRecipe checks that an entry's recipe is the one its key is of; an entry
// of another is quarantined. Recipes of another schema say nothing.
func (s *Store) verifyRecipe(k Key) error {
	text, err := s.Recipe(k)
	if err != nil {
		return err
	}
	recipe, err := ParseRecipe(text)
	if err != nil || recipe.Key() == k {
		return nil
	}
	return errors.Join(fmt.Errorf("entry %s: %w: its recipe is that of %s", k, ErrDamaged, recipe.Key()), s.quarantine(entryPath(k)))
}

type verification struct {
	mu       sync.Mutex
	report   *VerifyReport
	progress func(done, total int64)
	total    int64
}

func (p *verification) blob(ctx context.Context, s *Store, d Digest) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	r, err := s.OpenBlob(d)
	if errors.Is(err, ErrMiss) {
		return nil // pruned meanwhile
	}
	if err != nil {
		return err
	}
	defer r.Close()
	buf := make([]byte, 1<<20)
	for err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var n int
		n, err = r.Read(buf)
		p.add(int64(n))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Blobs++
	switch {
	case errors.Is(err, ErrDamaged):
		p.report.Damaged = append(p.report.Damaged, err.Error())
	case err != io.EOF:
		return fmt.Errorf("verify blob %s: %w", d, err)
	}
	return nil
}

func (p *verification) add(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.report.Bytes += n
	if p.progress != nil {
		p.progress(p.report.Bytes, p.total)
	}
}
