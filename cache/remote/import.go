package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

// ImportOptions say which records of a layout are believed.
type ImportOptions struct {
	Trust Trust
	// Scope Untrusted takes records of that scope too.
	Scope    Scope
	Progress Progress
}

// Import takes what [Cache.Export] wrote into the store. A record must hold as one
// of a registry must, and every blob must have the digest that the record says;
// else it is refused, and the rest is taken. Blobs that are in the store already
// are not copied. The error wraps [ErrUntrusted] if records were refused.
func (c *Cache) Import(ctx context.Context, dir string, o ImportOptions) (*CopyReport, error) {
	r := &CopyReport{}
	l, err := openLayout(dir)
	if err != nil {
		return r, fmt.Errorf("import %s: %w", dir, err)
	}
	defer l.close()
	m := &importer{Cache: c, layout: l, from: dir, report: r, copied: newTally(r, o.Progress)}
	m.policies = []*policy{newPolicy(Trusted, o.Trust)}
	if o.Scope == Untrusted {
		m.policies = append(m.policies, newPolicy(Untrusted, o.Trust))
	}
	err = m.run(ctx)
	if err == nil && len(r.Refused) > 0 {
		err = fmt.Errorf("%w: %d records, the first %s: %s", ErrUntrusted, len(r.Refused), r.Refused[0].Record, r.Refused[0].Why)
	}
	if err != nil {
		return r, fmt.Errorf("import %s: %w", dir, err)
	}
	return r, nil
}

type importer struct {
	*Cache
	layout   *layoutDir
	from     string
	policies []*policy
	report   *CopyReport
	copied   *tally
}

func (m *importer) run(ctx context.Context) error {
	ix, err := m.layout.index()
	if err != nil {
		return err
	}
	found := slices.DeleteFunc(ix.Manifests, func(d v1.Descriptor) bool {
		return d.ArtifactType != RecordType && !strings.HasPrefix(d.Annotations[refName], "ac-")
	})
	if len(found) > maxExported {
		return fmt.Errorf("it has over %d records", maxExported)
	}
	var entries []*cache.Entry
	for _, d := range found {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		e, err := m.entry(d)
		if err != nil && !errors.Is(err, ErrUntrusted) {
			return err
		}
		if err != nil {
			m.refuse(d.Annotations[refName], err)
			continue
		}
		entries = append(entries, e)
		for _, b := range e.Output.Blobs {
			if m.conf.Store.HasBlob(b.Digest, b.Size) != nil {
				m.copied.total += b.Size // shared ones more than once: it is for the display
			}
		}
	}
	for _, e := range entries {
		switch err := m.take(ctx, e); {
		case err == nil:
			m.report.Entries++
		case errors.Is(err, ErrUntrusted):
			m.refuse(recordTag(e.Key), err)
		default:
			return err
		}
	}
	return nil
}

func (m *importer) refuse(record string, why error) {
	m.report.Refused = append(m.report.Refused, Refusal{record, strings.TrimPrefix(why.Error(), ErrUntrusted.Error()+": ")})
}

// entry returns what a record of the layout says, if it is to be believed. The
// error wraps [ErrUntrusted] if it is not.
func (m *importer) entry(d v1.Descriptor) (*cache.Entry, error) {
	untrusted := func(err error) error { return fmt.Errorf("%w: %w", ErrUntrusted, err) }
	k, err := cache.ParseKey("sha256:" + strings.TrimPrefix(d.Annotations[refName], "ac-"))
	if err != nil {
		return nil, untrusted(err)
	}
	digest, err := cache.ParseDigest(d.Digest.String())
	if err != nil {
		return nil, untrusted(err)
	}
	raw, err := m.layout.read(layoutBlob(digest), maxManifest)
	if err != nil {
		return nil, missing(err)
	}
	if cache.DigestOf(raw) != digest {
		return nil, untrusted(errors.New("its manifest has another digest"))
	}
	env, err := readRecord(raw, k)
	if err != nil {
		return nil, err
	}
	for _, p := range m.policies {
		var e *cache.Entry
		if e, err = p.open(env, k, time.Now()); err == nil {
			text, err := env.encode()
			e.Statement = string(text)
			return e, err
		}
	}
	return nil, err
}

// missing makes a file that is not as a layout has it a fault of the layout's, and
// not of this machine's.
func missing(err error) error {
	if ownFault(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, err)
}

// ownFault reports whether this machine kept a file from being read.
func ownFault(err error) bool {
	return slices.ContainsFunc([]syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.EIO, syscall.EACCES},
		func(own syscall.Errno) bool { return errors.Is(err, own) })
}

// take copies an entry's blobs and puts it into the store.
func (m *importer) take(ctx context.Context, e *cache.Entry) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	seen := map[cache.Digest]bool{}
	for _, b := range e.Output.Blobs {
		if !seen[b.Digest] && m.conf.Store.HasBlob(b.Digest, b.Size) != nil {
			g.Go(func() error { return m.copy(gctx, b) })
		}
		seen[b.Digest] = true
	}
	if err := g.Wait(); err != nil {
		return err
	}
	own := *e
	own.From = m.from
	return m.own(own)
}

func (m *importer) copy(ctx context.Context, b cache.Blob) error {
	f, size, err := m.layout.open(layoutBlob(b.Digest))
	if err != nil {
		return missing(err)
	}
	defer f.Close()
	if size != b.Size {
		return fmt.Errorf("%w: blob %s has %d bytes, not %d", ErrUntrusted, b.Digest, size, b.Size)
	}
	w, err := m.conf.Store.NewBlob()
	if err != nil {
		return err
	}
	defer w.Close()
	// No more than was announced, should the file grow.
	n, err := io.Copy(w, io.LimitReader(m.copied.reader(ctx, f), size))
	if err == nil {
		_, err = w.Commit(b.Digest)
	}
	switch {
	case errors.Is(err, cache.ErrDamaged):
		m.copied.undo(n)
		return fmt.Errorf("%w: blob %s has other content", ErrUntrusted, b.Digest)
	case err != nil:
		m.copied.undo(n)
		return err
	}
	m.copied.blob()
	return nil
}
