package graph

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// slots is a semaphore over slots and memory that serves the waiter with the
// longest remaining path first. The head of the queue is never overtaken, so that
// heavy work is not starved by light work.
type slots struct {
	mu          sync.Mutex
	total, free Cost
	queue       waiters
}

type waiter struct {
	cost      Cost
	remaining time.Duration
	order     int // lower first among equals
	index     int // in the heap; -1 when it has been served
	ready     chan struct{}
}

func newSlots(total Cost) *slots { return &slots{total: total, free: total} }

// within is the cost as far as there is so much: what needs more takes all.
func (c Cost) within(total Cost) Cost {
	return Cost{Slots: min(max(c.Slots, 1), total.Slots), MemoryMiB: min(max(c.MemoryMiB, 0), total.MemoryMiB)}
}

func (c Cost) fits(free Cost) bool { return c.Slots <= free.Slots && c.MemoryMiB <= free.MemoryMiB }

func (c Cost) plus(d Cost) Cost { return Cost{c.Slots + d.Slots, c.MemoryMiB + d.MemoryMiB} }

func (c Cost) minus(d Cost) Cost { return Cost{c.Slots - d.Slots, c.MemoryMiB - d.MemoryMiB} }

// enqueue queues for the cost, or for all there is where that is less. Nobody is
// served until start or wait is called, so that the longest of several paths can
// be found.
func (s *slots) enqueue(cost Cost, remaining time.Duration, order int) *waiter {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &waiter{cost: cost.within(s.total), remaining: remaining, order: order, ready: make(chan struct{})}
	heap.Push(&s.queue, w)
	return w
}

// start serves those who have queued.
func (s *slots) start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serve()
}

// wait waits until w has been served, and returns what gives back what it got.
func (s *slots) wait(ctx context.Context, w *waiter) (release func(), err error) {
	s.start()
	release = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.free = s.free.plus(w.cost)
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
		s.free = s.free.plus(w.cost)
	}
	s.serve()
	return nil, context.Cause(ctx)
}

// serve gives the head of the queue what it waits for, as long as there is enough.
func (s *slots) serve() {
	for len(s.queue) > 0 && s.queue[0].cost.fits(s.free) {
		w := heap.Pop(&s.queue).(*waiter)
		s.free = s.free.minus(w.cost)
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
