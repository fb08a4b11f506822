package graph

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// slots is a weighted semaphore that serves the waiter with the longest
// remaining path first. The head of the queue is never overtaken, so that heavy
// work is not starved by light work.
type slots struct {
	mu    sync.Mutex
	total int
	free  int
	queue waiters
}

type waiter struct {
	weight    int
	remaining time.Duration
	order     int // lower first among equals
	index     int // in the heap; -1 when it has been served
	ready     chan struct{}
}

func newSlots(n int) *slots { return &slots{total: n, free: n} }

// acquire waits for weight slots, or for all where there are fewer, and returns
// what gives them back.
func (s *slots) acquire(ctx context.Context, weight int, remaining time.Duration, order int) (release func(), err error) {
	weight = min(max(weight, 1), s.total)
	s.mu.Lock()
	w := &waiter{weight: weight, remaining: remaining, order: order, ready: make(chan struct{})}
	heap.Push(&s.queue, w)
	s.serve()
	s.mu.Unlock()
	release = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.free += weight
		s.serve()
	}
	select {
	case <-w.ready:
		return release, nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.index >= 0 {
		heap.Remove(&s.queue, w.index)
	} else { // it was served at the same moment
		s.free += weight
	}
	s.serve()
	return nil, context.Cause(ctx)
}

// serve gives slots to the head of the queue for as long as they suffice.
func (s *slots) serve() {
	for len(s.queue) > 0 && s.queue[0].weight <= s.free {
		w := heap.Pop(&s.queue).(*waiter)
		s.free -= w.weight
		close(w.ready)
	}
}

type waiters []*waiter

func (q waiters) Len() int { return len(q) }
func (q waiters) Less(i, j int) bool {
	if q[i].remaining != q[j].remaining {
		return q[i].remaining > q[j].remaining
	}
	return q[i].order < q[j].order
}
func (q waiters) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *waiters) Push(x any) {
	w := x.(*waiter)
	w.index = len(*q)
	*q = append(*q, w)
}
func (q *waiters) Pop() any {
	w := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	w.index = -1
	return w
}
