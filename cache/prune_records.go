package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"slices"
	"time"
)

// recordAge is how long records are kept that say of the past what entries can
// be without.
const recordAge = 30 * 24 * time.Hour

// quarantineAge is how long what was found damaged is kept.
const quarantineAge = 7 * 24 * time.Hour

// records removes small files that have lost their meaning: marks that are
// older than every entry, notes of the newest keys of addresses that have no
// entry, tables of directories that are not built any more, old quarantine.
func (p *pruner) records(ctx context.Context) error {
	p.end() // to look at what is left takes long, and bothers nobody
	oldest := p.start.Add(-24 * time.Hour)
	entries := map[Key]bool{}
	for _, e := range p.view.entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if _, err := p.s.root.Lstat(entryPath(e.key)); err != nil || p.o.DryRun && p.o.All {
			continue
		}
		entries[e.key] = true
		if e.created.Before(oldest) {
			oldest = e.created
		}
	}
	if err := p.begin(ctx); err != nil {
		return err
	}
	// An entry must not be there without its mark: see [Store.Mark].
	marks := oldest.Add(-markInterval - clockMargin)
	err := p.files(ctx, eachHashed(p.s.root, "marks"), "marks", func(fi fs.FileInfo) bool {
		return fi.ModTime().Before(marks)
	})
	if err != nil {
		return err
	}
	err = p.files(ctx, eachHashed(p.s.root, "latest"), "latest", func(fi fs.FileInfo) bool {
		b, err := readFile(p.s.root, hashed("latest", fi.Name()), maxLatest)
		keys, _ := parseLatest(b)
		return err == nil && !slices.ContainsFunc(keys, func(k Key) bool { return entries[k] }) && fi.ModTime().Before(p.start.Add(-recordAge))
	})
	if err != nil {
		return err
	}
	age := recordAge
	if p.o.MaxAge > 0 {
		age = min(age, max(p.o.MaxAge, 24*time.Hour)) // use of tables is known to the day
	}
	if p.o.All {
		age = 0
	}
	p.end() // nobody relies on the rest
	if !p.o.DryRun {
		n, bytes, err := p.s.PruneStats(p.start.Add(-age))
		if err != nil {
			return err
		}
		p.report.Files += n
		p.report.Freed += bytes
	}
	quarantined := p.start.Add(-quarantineAge)
	if p.o.All {
		quarantined = p.start
	}
	n, err := p.s.trimQuarantine(maxQuarantineFiles, maxQuarantineBytes, quarantined, p.o.DryRun)
	p.report.Freed += n
	if err != nil || p.o.DryRun {
		return err
	}
	return p.s.dropSigns(quarantined)
}

// files removes those files of a directory with directories HH that are to go.
func (p *pruner) files(ctx context.Context, list iter.Seq2[fs.FileInfo, error], dir string, goes func(fs.FileInfo) bool) error {
	for fi, err := range list {
		if err != nil {
			return err
		}
		if err := p.next(ctx); err != nil {
			return err
		}
		if !goes(fi) {
			continue
		}
		if !p.o.DryRun {
			if err := p.s.root.Remove(hashed(dir, fi.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		p.report.Files++
		p.report.Freed += fi.Size()
	}
	return nil
}

// latestKeys returns the newest key of each address, and since when it is. Those
// before it are not kept for explanations alone: they serve for as long as they
// are there.
func (s *Store) latestKeys() (map[Key]time.Time, error) {
	keys := map[Key]time.Time{}
	for fi, err := range eachHashed(s.root, "latest") {
		if err != nil {
			return nil, err
		}
		b, err := readFile(s.root, hashed("latest", fi.Name()), maxLatest)
		if err != nil {
			continue
		}
		if recent, err := parseLatest(b); err == nil && fi.ModTime().After(keys[recent[0]]) {
			keys[recent[0]] = fi.ModTime()
		}
	}
	return keys, nil
}

// pruneTags takes names out of the layout's index whose manifests are gone.
func (s *Store) pruneTags(ctx context.Context, dry bool) error {
	ix, err := s.readIndex()
	if err != nil || dry {
		return err
	}
	gone := func(d descriptor) bool {
		_, err := lstat(s.blobs, d.Digest.Hex())
		return errors.Is(err, os.ErrNotExist)
	}
	if !slices.ContainsFunc(ix.Manifests, gone) {
		return nil
	}
	err = s.changeIndex(ctx, func(ix *index) { ix.Manifests = slices.DeleteFunc(ix.Manifests, gone) })
	if err != nil {
		return fmt.Errorf("drop tags: %w", err)
	}
	return nil
}
