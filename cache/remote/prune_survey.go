package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

const (
	pruneRequests = 64 // that are under way at once
	maxTags       = 4_000_000
	maxTagPage    = 64 << 20 // bytes of one page of tags
	maxDepth      = 4        // of manifests in indexes
)

// survey finds what is in the repository.
func (p *remotePruner) survey(ctx context.Context) error {
	tags, err := p.client.tags(ctx)
	if err != nil {
		return err
	}
	v := &remoteSurvey{remotePruner: p, manifests: map[cache.Digest]*manifest{}}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(pruneRequests)
	for _, tag := range tags {
		g.Go(func() error { return v.tag(gctx, tag) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, ix := range p.indexes {
		for _, r := range p.records {
			if _, ok := ix.known.records[r.key]; ok && ix.created.After(r.used) {
				r.used = ix.created
			}
		}
	}
	return nil
}

type remoteSurvey struct {
	*remotePruner
	mu        sync.Mutex // guards it and what it finds
	manifests map[cache.Digest]*manifest
}

// manifest is what is read of one.
type manifest struct {
	once sync.Once
	doc  document
	err  error
}

// tag looks at one tag: a record, a snapshot index, or something foreign, which
// keeps what it names.
func (v *remoteSurvey) tag(ctx context.Context, tag string) error {
	raw, err := v.client.getManifest(ctx, deleteScope, tag)
	if status(err) == http.StatusNotFound {
		return nil // removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	digest := cache.DigestOf(raw)
	var doc document
	if err := json.Unmarshal(raw, &doc); err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	if strings.HasPrefix(tag, "ix-") && doc.ArtifactType == IndexType {
		return v.index(ctx, tag, digest, doc)
	}
	key, err := cache.ParseKey("sha256:" + strings.TrimPrefix(tag, "ac-"))
	record := err == nil && doc.ArtifactType == RecordType && doc.Annotations[KeyAnnotation] == key.String()
	needs, children, err := v.needs(ctx, digest, int64(len(raw)), doc)
	if err != nil {
		return fmt.Errorf("tag %s: %w", tag, err)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, d := range needs {
		v.named[d]++
	}
	if !record {
		v.report.Foreign++
		return nil
	}
	created, err := time.Parse(time.RFC3339, doc.Annotations[createdAnnotation])
	if err != nil || created.After(v.now) {
		created = v.now // it says nothing that can be believed
	}
	v.records = append(v.records, &remoteRecord{key: key, manifest: digest, used: created, needs: needs, children: children})
	return nil
}

// needs returns all that a manifest names, itself included, each once.
func (v *remoteSurvey) needs(ctx context.Context, digest cache.Digest, size int64, doc document) (all, manifests []cache.Digest, err error) {
	seen := map[cache.Digest]bool{}
	add := func(d cache.Digest, size int64) {
		if !seen[d] {
			seen[d] = true
			all = append(all, d)
			v.mu.Lock()
			v.sizes[d] = size
			v.mu.Unlock()
		}
	}
	var walk func(doc document, depth int) error
	walk = func(doc document, depth int) error {
		named := doc.Layers
		if doc.Config != nil {
			named = append(named[:len(named):len(named)], *doc.Config)
		}
		for _, n := range named {
			d, err := cache.ParseDigest(n.Digest.String())
			if err != nil {
				return err
			}
			add(d, n.Size)
		}
		for _, n := range doc.Manifests {
			d, err := cache.ParseDigest(n.Digest.String())
			if err != nil {
				return err
			}
			if seen[d] || depth >= maxDepth {
				continue
			}
			add(d, n.Size)
			manifests = append(manifests, d)
			child, err := v.manifest(ctx, n)
			if err != nil {
				return err
			}
			if err := walk(*child, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	add(digest, size)
	err = walk(doc, 0)
	return all, manifests, err
}

// manifest reads a manifest that another names, once; one that is gone names nothing.
func (v *remoteSurvey) manifest(ctx context.Context, n v1.Descriptor) (*document, error) {
	d, err := cache.ParseDigest(n.Digest.String())
	if err != nil {
		return nil, err
	}
	v.mu.Lock()
	m := v.manifests[d]
	if m == nil {
		m = &manifest{}
		v.manifests[d] = m
	}
	v.mu.Unlock()
	m.once.Do(func() {
		raw, err := v.client.getManifest(ctx, deleteScope, d.String())
		switch {
		case status(err) == http.StatusNotFound:
		case err != nil:
			m.err = err
		case cache.DigestOf(raw) != d:
			m.err = errWrongContent
		default:
			m.err = json.Unmarshal(raw, &m.doc)
		}
	})
	return &m.doc, m.err
}

// index looks at a snapshot index.
func (v *remoteSurvey) index(ctx context.Context, tag string, digest cache.Digest, doc document) error {
	if len(doc.Layers) != 1 {
		return nil
	}
	d, err := cache.ParseDigest(doc.Layers[0].Digest.String())
	if err != nil {
		return nil
	}
	known, err := v.getIndex(ctx, cache.Blob{Digest: d, Size: doc.Layers[0].Size})
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return nil // it names nothing that can be read
	}
	created, err := time.Parse(time.RFC3339, doc.Annotations[createdAnnotation])
	if err != nil {
		return nil
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.indexes = append(v.indexes, &remoteIndex{tag: tag, digest: digest, created: created, known: known})
	return nil
}

// tags returns all tags of the repository; none if it is not there.
func (c *client) tags(ctx context.Context) (all []string, err error) {
	next := "list?n=1000"
	for next != "" {
		if len(all) > maxTags {
			return nil, fmt.Errorf("it has over %d tags", maxTags)
		}
		var page struct{ Tags []string }
		err := c.again(ctx, func(ctx context.Context, alive func()) error {
			resp, err := c.request(ctx, deleteScope, "tags", next, nil)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			alive()
			if resp.StatusCode != http.StatusOK {
				return answered(resp)
			}
			next = nextPage(resp.Header.Get("Link"))
			return json.NewDecoder(io.LimitReader(&living{ReadCloser: resp.Body, alive: func(int64) { alive() }}, maxTagPage)).Decode(&page)
		})
		if status(err) == http.StatusNotFound {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("list tags: %w", err)
		}
		if next != "" && len(page.Tags) == 0 {
			return nil, errors.New("list tags: it answered an empty page and names another")
		}
		all = append(all, page.Tags...)
	}
	return all, nil
}

// nextPage returns what follows tags/ in the address of the next page, as the OCI
// distribution spec has it in a Link header; empty: there is none.
func nextPage(link string) string {
	address, rest, ok := strings.Cut(strings.TrimPrefix(link, "<"), ">")
	if !ok || !strings.Contains(rest, `rel="next"`) {
		return ""
	}
	u, err := url.Parse(address)
	if err != nil || u.RawQuery == "" {
		return ""
	}
	return "list?" + u.RawQuery
}
