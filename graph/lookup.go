package graph

import (
	"context"
	"sync"
	"sync/atomic"

	"bottlebuild/cache"
)

// lookups is what the cache, and the worker, have said of keys while one plan was
// made. Bottles of one image share a pack, so a key may be that of many steps:
// they are asked once, and a plan does not contradict itself if an entry goes
// meanwhile.
type lookups struct {
	mu sync.Mutex
	by map[lookup]*found
}

type lookup struct {
	key  cache.Key
	here bool // only on this machine
}

type found struct {
	once      sync.Once
	entry     *cache.Entry // not changed by anybody
	miss, err error
	verdict   atomic.Pointer[Verdict] // if it is that of the key
}

// find is [Runner.find], or [Runner.here], the first time that it is called for a
// key, and then what that returned.
func (l *lookups) find(ctx context.Context, r *Runner, kind string, k lookup) *found {
	l.mu.Lock()
	f := l.by[k]
	if f == nil {
		f = &found{}
		l.by[k] = f
	}
	l.mu.Unlock()
	f.once.Do(func() {
		if k.here {
			f.entry, f.miss, f.err = r.here(ctx, kind, k.key)
		} else {
			f.entry, f.miss, f.err = r.find(ctx, kind, k.key)
		}
	})
	return f
}
