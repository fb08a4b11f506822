package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"bottlebuild/cache"
)

// Config says what a shared cache is.
type Config struct {
	// Store is this machine's own cache.
	Store *cache.Store
	// Dir is where what is known of registries is kept; it is made when needed. Empty:
	// nothing is kept.
	Dir string
	// Project names the snapshot index: a project's runs share one.
	Project  string
	Remotes  []Remote
	Keychain authn.Keychain // finds credentials; nil: none are sent
	// Platform and Builder stand in the records that are written.
	Platform, Builder string
	// Key signs them; zero: they are not signed.
	Key PrivateKey
	// RequireSigned makes a record that is not believed an error, not a miss.
	RequireSigned bool
	// LookOnly is for plans: nothing is sent, and what had no record a minute ago
	// has none.
	LookOnly bool
	// Fresh asks registries for every record, whatever is known of them: a record
	// may have been removed since.
	Fresh bool
	// Sending begins the report of an entry that is sent to a repository; or nil.
	Sending func(e *cache.Entry, repository string) Step
	// Notice receives what users should know, such as that a registry was given up.
	Notice func(string)
}

// Remote is one registry of a shared cache.
type Remote struct {
	Prefix string // host and path: "registry.example.com/acme"
	Mode   Mode
	Scope  Scope
	Trust  Trust
	TLS    TLS
}

// Cache is a shared cache. It may be used by several goroutines at once. Close
// gives back what it holds.
type Cache struct {
	conf     Config
	repos    []*repository // in the order in which they are asked
	stats    stats
	pushing  sync.WaitGroup
	pushes   chan struct{} // slots
	pushCtx  context.Context
	stopPush context.CancelCauseFunc

	mu      sync.Mutex
	holders map[cache.Digest][]holder // who names a blob, of what was found
	seen    map[place]bool            // what holders has
	sending map[place]bool            // what Publish was given and is not done with
	denials int
	noted   map[string]bool
}

// holder is an entry that was found in a repository.
type holder struct {
	repo  *repository
	entry *cache.Entry
}

type place struct {
	repo *repository
	key  cache.Key
}

// pushers is how many entries are sent at once.
const pushers = 4

// New checks the configuration; nothing is contacted.
func New(conf Config) (*Cache, error) {
	c := &Cache{conf: conf, pushes: make(chan struct{}, pushers), holders: map[cache.Digest][]holder{}, seen: map[place]bool{}, sending: map[place]bool{}, noted: map[string]bool{}}
	c.pushCtx, c.stopPush = context.WithCancelCause(context.Background())
	for _, r := range conf.Remotes {
		if conf.RequireSigned && len(r.Trust.Keys) == 0 && r.Mode.Read {
			return nil, fmt.Errorf("cache %s: signatures are required, but there is no public key to check them with", r.Prefix)
		}
		scopes := []Scope{Trusted}
		if r.Scope == Untrusted {
			scopes = append(scopes, Untrusted)
		}
		for _, s := range scopes {
			if err := c.add(r, s); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// add adds the repository of one scope. Only that of the remote's own scope is
// written to.
func (c *Cache) add(r Remote, s Scope) error {
	mode := Mode{Read: r.Mode.Read, Write: r.Mode.Write && s == r.Scope && !c.conf.LookOnly}
	if !mode.Read && !mode.Write {
		return nil
	}
	repo, err := parsePrefix(r.Prefix, s, r.TLS.Insecure)
	if err != nil {
		return err
	}
	trust := r.Trust
	if s == Untrusted && !c.conf.RequireSigned {
		trust.Keys = nil // its writers have no key that anybody trusts
	}
	if (len(trust.Keys) > 0 || s == Trusted) && !c.conf.Key.IsZero() {
		// Who signs believes nothing that is not signed: else what anybody may have
		// written would be used, and all that is made with it be signed.
		trust.Keys = append([]PublicKey{c.conf.Key.Public()}, trust.Keys...)
	}
	h := newHealth(func(why error) {
		c.notice(fmt.Sprintf("shared cache %s: %v; going on without it", repo.Name(), why))
	})
	p := newPolicy(s, trust)
	n := newRepository(repo, newClient(repo, c.conf.Keychain, r.TLS, h), p, newKnownFile(c.conf.Dir, repo.Name(), p))
	n.read, n.write, n.project, n.recent, n.fresh = mode.Read, mode.Write, c.conf.Project, c.conf.LookOnly, c.conf.Fresh
	if repo.RegistryStr() == name.DefaultRegistry {
		c.notice(fmt.Sprintf("shared cache %s: Docker Hub limits how many manifests may be asked for; another registry serves a cache better", n.name))
	}
	c.repos = append(c.repos, n)
	return nil
}

func (c *Cache) notice(text string) {
	c.mu.Lock()
	again := c.noted[text]
	c.noted[text] = true
	c.mu.Unlock()
	if !again && c.conf.Notice != nil {
		c.conf.Notice(text)
	}
}

// Find returns the entry of k from the first registry that has one that is
// believed; its blobs may be there only. The error wraps [cache.ErrMiss], also
// [cache.ErrUncertain] where a registry could not be asked, unless ctx is done
// or a record has to be signed and is not: then it wraps [ErrUntrusted].
func (c *Cache) Find(ctx context.Context, k cache.Key) (*cache.Entry, error) {
	var uncertain error
	for _, r := range c.repos {
		if !r.read || r.unread.Load() {
			continue
		}
		e, err := r.find(ctx, k)
		switch {
		case err == nil:
			return c.found(r, e), nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, errNoRecord):
		case errors.Is(err, ErrUntrusted):
			c.stats.refused.Add(1)
			if c.conf.RequireSigned {
				return nil, fmt.Errorf("shared cache %s: record of %s: %w", r.name, k, err)
			}
			c.notice(fmt.Sprintf("shared cache %s: a record is not used: %v", r.name, err))
		default:
			uncertain = fmt.Errorf("%s: %w", r.name, err)
			if !errors.Is(err, errGivenUp) { // of which there was a notice
				r.faultOnce.Do(func() {
					c.notice(fmt.Sprintf("shared cache %s: a lookup failed, and what is there may be made again: %v", r.name, err))
				})
			}
		}
	}
	if uncertain != nil {
		return nil, fmt.Errorf("find %s: %w: %w: %w", k, cache.ErrMiss, cache.ErrUncertain, uncertain)
	}
	return nil, fmt.Errorf("find %s: %w", k, cache.ErrMiss)
}

// found notes who names the entry's blobs. If all of them are here, of a process
// that was killed before it had put the entry or of other entries, the entry is
// this machine's own.
func (c *Cache) found(r *repository, e *cache.Entry) *cache.Entry {
	e.From = r.name
	c.stats.found.Add(1)
	if !c.conf.LookOnly && c.complete(e) {
		_ = c.own(*e) // it can be used without as well
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := (place{r, e.Key}); !c.seen[at] {
		c.seen[at] = true
		for _, b := range e.Output.Blobs {
			c.holders[b.Digest] = append(c.holders[b.Digest], holder{r, e})
		}
	}
	return e
}

// Marked reports whether work whose recipe, less its inputs, has that key is
// known to have been done somewhere.
func (c *Cache) Marked(ctx context.Context, partial cache.Key) bool {
	for _, r := range c.repos {
		if r.read && r.marked(ctx, partial) {
			return true
		}
	}
	return false
}

// Latest returns the text of the recipe that the node at an address had when it
// was last done, as far as the snapshot indexes tell.
func (c *Cache) Latest(address string) (recipe string, ok bool) {
	for _, r := range c.repos {
		if !r.read {
			continue
		}
		if e := r.latest(address); e != nil {
			return e.Recipe, true
		}
	}
	return "", false
}

// Denials counts the records that turned out to be of no use: a plan made
// before the last of them no longer holds.
func (c *Cache) Denials() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.denials
}

// StopReading makes every later lookup a miss.
func (c *Cache) StopReading() {
	for _, r := range c.repos {
		r.unread.Store(true)
	}
}

// deny makes every record of r that names a blob a miss.
func (c *Cache) deny(r *repository, d cache.Digest, why error) {
	c.mu.Lock()
	held := c.holders[d]
	c.denials++
	c.mu.Unlock()
	for _, h := range held {
		if h.repo == r {
			r.deny(h.entry.Key, why)
		}
	}
}

// Close keeps what was learnt for the next command and gives up everything else.
func (c *Cache) Close() error {
	c.stopPush(errors.New("closed"))
	c.pushing.Wait()
	var errs []error
	for _, r := range c.repos {
		errs = append(errs, r.save())
		r.client.health.close()
		r.client.close()
	}
	return errors.Join(errs...)
}

// Stats is what a shared cache did.
type Stats struct {
	Found         int64 `json:"found"`          // lookups that found a record
	Refused       int64 `json:"refused"`        // records that were not believed
	FetchedBlobs  int64 `json:"fetched_blobs"`  // blobs that were downloaded
	FetchedBytes  int64 `json:"fetched_bytes"`  // of them
	PushedEntries int64 `json:"pushed_entries"` // records that were written
	PushedBytes   int64 `json:"pushed_bytes"`   // blobs and manifests that were sent
}

type stats struct{ found, refused, fetchedBlobs, fetchedBytes, pushedEntries, pushedBytes atomic.Int64 }

// Stats returns what was done so far.
func (c *Cache) Stats() Stats {
	s := &c.stats
	return Stats{s.found.Load(), s.refused.Load(), s.fetchedBlobs.Load(), s.fetchedBytes.Load(), s.pushedEntries.Load(), s.pushedBytes.Load()}
}
