package remote

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

// CopyReport is what an export or an import did.
type CopyReport struct {
	Entries int   `json:"entries"` // that are in the layout, or in the store
	Blobs   int   `json:"blobs"`   // that were copied
	Bytes   int64 `json:"bytes"`   // of them
	// Refused are the records of an import that are not believed.
	Refused []Refusal `json:"refused,omitempty"`
}

// Refusal says why a record was not imported.
type Refusal struct {
	Record string `json:"record"` // its name in the layout
	Why    string `json:"why"`
}

// Progress is told how many of all bytes have been copied; or nil.
type Progress func(done, total int64)

// Export writes entries and their blobs, which must all be in the store, to an OCI
// image layout in dir, in the form that they have in a registry: see docs/cache.md.
// A layout that is there is added to; blobs that are in it already are not copied
// again. Signatures under which an entry was found or published are kept; the
// cache's own key signs too, if it has one.
func (c *Cache) Export(ctx context.Context, dir string, entries []*cache.Entry, progress Progress) (*CopyReport, error) {
	r := &CopyReport{}
	l, err := createLayout(dir)
	if err != nil {
		return r, fmt.Errorf("export to %s: %w", dir, err)
	}
	defer l.close()
	if err := l.sweep(); err != nil {
		return r, fmt.Errorf("export to %s: %w", dir, err)
	}
	x := &export{Cache: c, layout: l, copied: newTally(r, progress), blobs: map[cache.Digest]cache.Blob{}, named: map[string]cache.Digest{}}
	if err := x.run(ctx, entries); err != nil {
		return r, fmt.Errorf("export to %s: %w", dir, err)
	}
	r.Entries = len(entries)
	return r, nil
}

type export struct {
	*Cache
	layout  *layoutDir
	copied  *tally
	blobs   map[cache.Digest]cache.Blob // to be copied from the store
	records []v1.Descriptor
	named   map[string]cache.Digest // manifests that the layout had, by name
}

func (x *export) run(ctx context.Context, entries []*cache.Entry) error {
	ix, err := x.layout.index()
	if err != nil {
		return err
	}
	for _, d := range ix.Manifests {
		if digest, err := cache.ParseDigest(d.Digest.String()); err == nil {
			x.named[d.Annotations[refName]] = digest
		}
	}
	small := [][]byte{emptyConfig}
	for _, e := range entries {
		env, err := x.envelopeOf(e)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Address, err)
		}
		u, err := prepare(x.conf.Store, e, env)
		if err != nil {
			return fmt.Errorf("%s: %w", e.Address, err)
		}
		for _, b := range slices.Concat(u.blobs, u.manifests) {
			x.blobs[b.Digest] = b
		}
		if u.parts != nil {
			small = append(small, u.parts.raw)
		}
		small = append(small, u.record.raw)
		x.records = append(x.records, v1.Descriptor{
			MediaType: u.record.mediaType, ArtifactType: RecordType, Digest: hashOf(cache.DigestOf(u.record.raw)), Size: int64(len(u.record.raw)),
			Annotations: map[string]string{refName: recordTag(e.Key), KeyAnnotation: e.Key.String(), KindAnnotation: e.Kind},
		})
	}
	for d, b := range x.blobs {
		if x.layout.has(d, b.Size) {
			delete(x.blobs, d)
			continue
		}
		x.copied.total += b.Size
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	for d := range x.blobs {
		g.Go(func() error { return x.copy(gctx, d) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, raw := range small {
		if d := cache.DigestOf(raw); !x.layout.has(d, int64(len(raw))) {
			if err := x.layout.publish(layoutBlob(d), d, bytes.NewReader(raw)); err != nil {
				return err
			}
		}
	}
	return x.layout.name(x.records) // last: what it names is there
}

func (x *export) copy(ctx context.Context, d cache.Digest) error {
	r, err := x.conf.Store.OpenBlob(d)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := x.layout.publish(layoutBlob(d), d, x.copied.reader(ctx, r)); err != nil {
		return err
	}
	x.copied.blob()
	return nil
}

// envelopeOf returns the statement about an entry with the signatures that it is
// known under, and this cache's own, if the work was done here.
func (x *export) envelopeOf(e *cache.Entry) (*envelope, error) {
	env := x.statementOf(e)
	if there := x.present(e); env == nil || len(env.signatures) == 0 && there != nil {
		env = there
	}
	if env == nil {
		return x.ownStatement(e, x.scope())
	}
	if e.From != "" || x.conf.Key.IsZero() {
		return env, nil
	}
	own, err := seal(env.payload, x.conf.Key)
	if err != nil {
		return nil, err
	}
	signed := &envelope{payload: env.payload, signatures: own.signatures}
	for _, s := range env.signatures {
		if s.KeyID != own.signatures[0].KeyID {
			signed.signatures = append(signed.signatures, s)
		}
	}
	return signed, nil
}

// present returns the statement about exactly this entry that the layout has; nil if
// it has none.
func (x *export) present(e *cache.Entry) *envelope {
	d, ok := x.named[recordTag(e.Key)]
	if !ok {
		return nil
	}
	raw, err := x.layout.read(layoutBlob(d), maxManifest)
	if err != nil || cache.DigestOf(raw) != d {
		return nil
	}
	env, err := readRecord(raw, e.Key)
	if err != nil || !says(env, e) {
		return nil
	}
	return env
}

// statementOf returns the statement by which exactly this entry is known from a
// registry, an import, or a publication; nil if there is none.
func (c *Cache) statementOf(e *cache.Entry) *envelope {
	if e.Statement != "" {
		if env, err := decodeEnvelope(e.Statement); err == nil && says(env, e) {
			return env
		}
	}
	for _, r := range c.repos {
		r.mu.Lock()
		r.load()
		rec, ok := r.known.records[e.Key]
		r.mu.Unlock()
		if ok && says(rec.envelope, e) {
			return rec.envelope
		}
	}
	return nil
}

// ownStatement makes a statement about an entry. It is signed if there is a key and
// the work was done here: what was downloaded is nobody's word here.
func (c *Cache) ownStatement(e *cache.Entry, scope Scope) (*envelope, error) {
	payload, err := encodeStatement(e, c.conf.Platform, Builder{ID: c.conf.Builder, Scope: scope})
	if err != nil {
		return nil, err
	}
	if e.From != "" {
		return &envelope{payload: payload}, nil
	}
	return seal(payload, c.conf.Key)
}

// says reports whether a statement is about this very output.
func says(env *envelope, e *cache.Entry) bool {
	said, _, err := decodeStatement(env.payload, e.Key, time.Now())
	return err == nil && said.Output.Digest == e.Output.Digest && slices.Equal(said.Output.Blobs, e.Output.Blobs)
}

// scope is that of what this cache makes.
func (c *Cache) scope() Scope {
	if slices.ContainsFunc(c.conf.Remotes, func(r Remote) bool { return r.Scope == Untrusted }) {
		return Untrusted
	}
	return Trusted
}

// tally counts what is copied.
type tally struct {
	mu       sync.Mutex
	report   *CopyReport
	progress Progress
	total    int64
}

func newTally(r *CopyReport, progress Progress) *tally { return &tally{report: r, progress: progress} }

func (t *tally) blob() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Blobs++
}

// undo takes back what was read of a blob that is not kept.
func (t *tally) undo(n int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.report.Bytes -= n
}

func (t *tally) reader(ctx context.Context, r io.Reader) io.Reader { return &counted{ctx, r, t} }

// counted counts what is read, and ends with its context.
type counted struct {
	ctx context.Context
	r   io.Reader
	t   *tally
}

func (c *counted) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(p)
	c.t.mu.Lock()
	defer c.t.mu.Unlock()
	c.t.report.Bytes += int64(n)
	if c.t.progress != nil {
		c.t.progress(c.t.report.Bytes, c.t.total)
	}
	return n, err
}
