package graph

import (
	"context"
	"sync"

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

	judging sync.Mutex
	verdict *Verdict // if it is that of the key
}

// judge takes over the verdict on a step with this key, which the worker gives
// unless it has said that an earlier one is that of the key.
func (f *found) judge(ctx context.Context, r *Runner, s *Step, entry *cache.Entry) error {
	f.judging.Lock()
	defer f.judging.Unlock()
	if f.verdict != nil {
		s.take(*f.verdict)
		return nil
	}
	v, err := r.judge(ctx, s, entry)
	if err == nil && v.OfKey {
		f.verdict = &v
	}
	return err
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
