package tasks

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Move is a name that stands for something else by now than the lock file says.
type Move struct {
	Pin
	Locked, Now string
	Nodes       []string // addresses of the images that use it, sorted
}

// movedWait bounds how long it is waited for what names stand for by now, where
// that is only news.
const movedWait = 3 * time.Second

// Moved returns which of the pins that have been used so far stand for something
// else by now. What cannot be found out in a few seconds is left out: nothing
// depends on it.
func (w *Worker) Moved(ctx context.Context) []Move {
	ctx, cancel := context.WithTimeout(ctx, movedWait)
	defer cancel()
	r := &w.resolutions
	r.mu.Lock()
	used := maps.Clone(r.users)
	r.mu.Unlock()
	var mu sync.Mutex
	var moves []Move
	var g errgroup.Group
	g.SetLimit(lockJobs)
	for p, users := range used {
		locked, ok := w.Pins[p]
		if !ok {
			continue
		}
		g.Go(func() error {
			now, err := w.lookUp(ctx, p)
			if err == nil && now != locked {
				mu.Lock()
				defer mu.Unlock()
				moves = append(moves, Move{p, locked, now, slices.Sorted(maps.Keys(users))})
			}
			return nil
		})
	}
	_ = g.Wait() // it has none
	slices.SortFunc(moves, func(a, b Move) int { return a.Compare(b.Pin) })
	return moves
}
