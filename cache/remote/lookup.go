package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"bottlebuild/cache"
)

// repository is one repository of records: a registry's for one scope.
type repository struct {
	name    string // as the user knows it: "registry.example.com/acme/bb-cache"
	client  *client
	policy  *policy
	file    knownFile
	project string // names the snapshot index
	// Reads and writes that are allowed.
	read, write bool
	// recent takes a miss of the last minute for a miss.
	recent bool
	// fresh believes only what was asked for in this run.
	fresh  bool
	slots  chan struct{} // for lookups
	unread atomic.Bool   // no longer asked

	indexOnce sync.Once
	faultOnce sync.Once // for the notice of the first lookup that failed

	mu      sync.Mutex
	loaded  bool
	known   *known
	changed bool                // known, since it was read
	used    map[cache.Key]bool  // found or written in this run
	denied  map[cache.Key]error // records that turned out to be of no use
	// Made of the known records when they are asked for.
	partial   map[cache.Key]bool
	addresses map[string]dated
}

// errNoRecord says that the registry has no record of a key.
var errNoRecord = errors.New("there is no record of it")

func newRepository(repo name.Repository, c *client, p *policy, f knownFile) *repository {
	return &repository{
		name: repo.Name(), client: c, policy: p, file: f, slots: make(chan struct{}, connections-8),
		used: map[cache.Key]bool{}, denied: map[cache.Key]error{},
	}
}

// load reads the file of what is known; r.mu is held.
func (r *repository) load() {
	if r.loaded {
		return
	}
	r.loaded = true
	r.known = r.file.read()
}

// find returns the record of k. The error wraps errNoRecord if there is none,
// and ErrUntrusted if there is one that is not believed; any other is a failure
// to find out.
func (r *repository) find(ctx context.Context, k cache.Key) (*cache.Entry, error) {
	if e, err := r.recall(k); e != nil || err != nil {
		return e, err
	}
	r.indexOnce.Do(func() { r.fetchIndex(ctx) })
	if e, err := r.recall(k); e != nil || err != nil {
		return e, err
	}
	return r.ask(ctx, k)
}

// recall looks among what is known; nil and no error: the registry must be asked.
func (r *repository) recall(k cache.Key) (*cache.Entry, error) {
	r.mu.Lock()
	r.load()
	rec, there := r.known.records[k]
	at, missed := r.known.misses[k]
	denied := r.denied[k]
	there = there && (!r.fresh || r.used[k])
	missed = missed && r.recent && !r.fresh
	r.mu.Unlock()
	now := time.Now()
	switch {
	case denied != nil:
		return nil, fmt.Errorf("%w: %w", errNoRecord, denied)
	case there:
		e, err := r.policy.open(rec.envelope, k, now)
		if err == nil {
			r.use(k)
			return e, nil
		}
		r.forget(k)
	case missed && now.Sub(time.Unix(at, 0)) < missAge:
		return nil, errNoRecord
	}
	return nil, nil
}

// ask looks into the registry, once more if that fails in a way that passes.
func (r *repository) ask(ctx context.Context, k cache.Key) (*cache.Entry, error) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	done, err := r.client.health.lookup()
	if err != nil {
		return nil, err
	}
	raw, err := r.getRecord(ctx, transport.PullScope, k)
	if errors.Is(err, errNoRecord) {
		done(nil)
		r.miss(k)
		return nil, err
	}
	done(err)
	if err != nil {
		if refuses(err) {
			r.client.health.giveUp(err)
		}
		return nil, err
	}
	return r.accept(raw, k)
}

// lookupPause is the longest that a registry can ask a lookup to wait.
const lookupPause = time.Second

func (r *repository) getRecord(ctx context.Context, scope string, k cache.Key) ([]byte, error) {
	for again := false; ; again = true {
		raw, err := r.client.getManifest(ctx, scope, recordTag(k))
		switch {
		case err == nil:
			return raw, nil
		case status(err) == http.StatusNotFound:
			return nil, errNoRecord
		case again, ctx.Err() != nil, !passes(err):
			return nil, err
		}
		if perr := r.client.health.sleep(ctx, 100*time.Millisecond); perr != nil {
			return nil, perr
		}
	}
}

// accept takes a record in, if it is to be believed.
func (r *repository) accept(raw []byte, k cache.Key) (*cache.Entry, error) {
	env, err := readRecord(raw, k)
	if err != nil {
		return nil, err
	}
	e, err := r.policy.open(env, k, time.Now())
	if err != nil {
		return nil, err
	}
	r.remember(k, knownRecord{envelope: env, partial: e.Partial})
	return e, nil
}

// remember adds a record that is valid and in the registry.
func (r *repository) remember(k cache.Key, rec knownRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	r.known.records[k] = rec
	delete(r.known.misses, k)
	r.used[k] = true
	r.change()
}

func (r *repository) use(k cache.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used[k] = true
}

func (r *repository) forget(k cache.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known.records, k)
	delete(r.used, k)
	r.change()
}

// change notes that the known records are others now; r.mu is held.
func (r *repository) change() {
	r.changed, r.partial, r.addresses = true, nil, nil
}

func (r *repository) miss(k cache.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known.misses[k], r.changed = time.Now().Unix(), true
}

// deny makes a record a miss for the rest of the command: what it promises could
// not be had.
func (r *repository) deny(k cache.Key, why error) {
	r.forget(k)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.denied[k] = why
}

// has reports whether the registry is known to have a valid record of k.
func (r *repository) has(k cache.Key) bool {
	e, err := r.recall(k)
	return e != nil && err == nil
}

// marked reports whether a known record was made with that partial key.
func (r *repository) marked(ctx context.Context, partial cache.Key) bool {
	r.indexOnce.Do(func() { r.fetchIndex(ctx) })
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.partial == nil {
		r.load()
		r.partial = make(map[cache.Key]bool, len(r.known.records))
		for _, rec := range r.known.records {
			r.partial[rec.partial] = true
		}
	}
	return !partial.IsZero() && r.partial[partial]
}

// latest returns the newest known entry of the node at an address, nil if there
// is none that is believed.
func (r *repository) latest(address string) *cache.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.load()
	if r.addresses == nil {
		r.addresses = map[string]dated{}
		for k, rec := range r.known.records {
			var s struct {
				Predicate struct {
					Address string    `json:"address"`
					Created time.Time `json:"created"`
				} `json:"predicate"`
			}
			if json.Unmarshal(rec.payload, &s) != nil {
				continue
			}
			p := s.Predicate
			if old, ok := r.addresses[p.Address]; !ok || p.Created.After(old.created) {
				r.addresses[p.Address] = dated{k, p.Created}
			}
		}
	}
	d, ok := r.addresses[address]
	if !ok {
		return nil
	}
	e, err := r.policy.open(r.known.records[d.key].envelope, d.key, time.Now())
	if err != nil {
		return nil
	}
	return e
}

// dated is a key and when its work was done.
type dated struct {
	key     cache.Key
	created time.Time
}

// save writes what was learnt.
func (r *repository) save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.loaded || !r.changed {
		return nil
	}
	r.changed = false
	known := &known{records: maps.Clone(r.known.records), misses: maps.Clone(r.known.misses), index: r.known.index}
	known.trim(time.Now(), r.used, maxKnown)
	return r.file.write(known)
}
