package graph_test

import (
	"context"
	"slices"
	"sync"

	"bottlebuild/cache"
)

// memory is a graph.Cache without a disk, for tests of thousands of graphs.
type memory struct {
	mu      sync.Mutex
	entries map[cache.Key]*cache.Entry
	marks   map[cache.Key]bool
	latest  map[string][]cache.Key
	locks   map[cache.Key]chan struct{}
}

func newMemory() *memory {
	return &memory{entries: map[cache.Key]*cache.Entry{}, marks: map[cache.Key]bool{},
		latest: map[string][]cache.Key{}, locks: map[cache.Key]chan struct{}{}}
}

func (m *memory) Get(k cache.Key) (*cache.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e := m.entries[k]; e != nil {
		return e, nil
	}
	return nil, cache.ErrMiss
}

func (m *memory) Put(e *cache.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[e.Key] = e
	return nil
}

func (m *memory) Recipe(k cache.Key) (string, error) {
	e, err := m.Get(k)
	if err != nil {
		return "", err
	}
	return e.Recipe, nil
}

func (m *memory) Lock(ctx context.Context, k cache.Key) (func(), error) {
	m.mu.Lock()
	if m.locks[k] == nil {
		m.locks[k] = make(chan struct{}, 1)
	}
	l := m.locks[k]
	m.mu.Unlock()
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *memory) Mark(k cache.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.marks[k] = true
	return nil
}

func (m *memory) Marked(k cache.Key) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marks[k]
}

func (m *memory) SetLatest(scope, address string, k cache.Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := scope + " " + address
	old := slices.DeleteFunc(m.latest[at], func(o cache.Key) bool { return o == k })
	m.latest[at] = append([]cache.Key{k}, old...)
	return nil
}

func (m *memory) Recent(scope, address string) ([]cache.Key, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if keys := m.latest[scope+" "+address]; len(keys) > 0 {
		return slices.Clone(keys), nil
	}
	return nil, cache.ErrMiss
}
