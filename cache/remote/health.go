package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// limits are what a registry may cost, in wall-clock time over one command.
type limits struct {
	// silence is for how long in all it may be silent while something is asked
	// of it.
	silence time.Duration
	// slow is how long lookups may take where answers are slow, and long where
	// they are quick and many.
	slow, long time.Duration
}

var usualLimits = limits{silence: 4 * time.Second, slow: 5 * time.Second, long: 10 * time.Second}

const (
	// grace is the silence between two answers that costs nothing: round-trips.
	grace = 100 * time.Millisecond
	// quick is the mean time of an answer up to which answers are quick.
	quick = 250 * time.Millisecond
	// strikes is how many lookups may fail in a row.
	strikes = 8
)

// errGivenUp is wrapped by the errors of a registry that is not asked any more.
var errGivenUp = errors.New("given up")

// health decides when a registry is given up for the rest of a command: a dead
// or slow one may cost a few seconds in all.
type health struct {
	limits limits
	gone   func(why error) // told when the registry is given up
	once   sync.Once
	ctx    context.Context // done when the registry is given up
	cancel context.CancelCauseFunc

	mu          sync.Mutex
	outstanding int
	since       time.Time     // of the last sign of life, or of the start
	spent       time.Duration // silence beyond grace
	timer       *time.Timer

	lookups      int // under way
	lookupStart  time.Time
	lookupSpent  time.Duration
	answers      int
	answerTime   time.Duration
	failed       int // lookups in a row
	restUntil    time.Time
	lookupsEnded error
}

func newHealth(gone func(why error)) *health {
	h := &health{limits: usualLimits, gone: gone}
	h.ctx, h.cancel = context.WithCancelCause(context.Background())
	return h
}

// giveUp ends everything under way and to come; the first reason counts.
func (h *health) giveUp(why error) {
	h.once.Do(func() {
		h.gone(why)
		h.cancel(fmt.Errorf("%w: %w", errGivenUp, why))
	})
}

// err returns why the registry was given up, nil if it was not.
func (h *health) err() error { return context.Cause(h.ctx) }

// watch returns a context that ends with ctx or when the registry is given up.
// alive is to be called at each sign of life, and done at the end.
func (h *health) watch(ctx context.Context) (_ context.Context, alive, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(h.ctx, func() { cancel(h.err()) })
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.outstanding++; h.outstanding == 1 {
		h.since = time.Now()
		h.arm()
	}
	return ctx, h.alive, func() {
		stop()
		cancel(nil)
		h.alive()
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.outstanding--; h.outstanding == 0 {
			h.timer.Stop()
		}
	}
}

// alive counts the silence that has ended.
func (h *health) alive() {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	if silence := now.Sub(h.since) - grace; silence > 0 {
		h.spent += silence
	}
	h.since = now
	h.arm()
}

// arm sets the alarm for when the patience ends. h.mu is held.
func (h *health) arm() {
	left := h.limits.silence - h.spent + grace
	if h.timer == nil {
		h.timer = time.AfterFunc(left, func() { h.giveUp(fmt.Errorf("it was silent for %s", h.limits.silence)) })
		return
	}
	h.timer.Reset(left)
}

// lookup returns an error where no more lookups are made; else the caller calls
// done when it knows, with the error that kept it from knowing.
func (h *health) lookup() (done func(error), err error) {
	if err := h.err(); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lookupsEnded != nil {
		return nil, h.lookupsEnded
	}
	start := time.Now()
	if h.lookups++; h.lookups == 1 {
		h.lookupStart = start
	}
	return func(err error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		now := time.Now()
		h.answers++
		h.answerTime += now.Sub(start)
		spent := h.lookupSpent + now.Sub(h.lookupStart)
		if h.lookups--; h.lookups == 0 {
			h.lookupSpent = spent
		}
		if err == nil {
			h.failed = 0
		} else if h.failed++; h.failed == strikes {
			go h.giveUp(fmt.Errorf("%d lookups failed, the last with: %w", strikes, err))
		}
		slow := h.answerTime/time.Duration(h.answers) > quick
		if h.lookupsEnded == nil && (spent > h.limits.long || slow && spent > h.limits.slow) {
			why := fmt.Errorf("lookups took %s", spent.Round(100*time.Millisecond))
			h.lookupsEnded = fmt.Errorf("%w: %w", errGivenUp, why)
			go h.gone(why)
		}
	}, nil
}

// leaveAlone keeps every request back for a while, as the registry asked.
func (h *health) leaveAlone(wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if until := time.Now().Add(wait); until.After(h.restUntil) {
		h.restUntil = until
	}
}

// rest waits for as long as the registry wants to be left alone. One that wants
// that for longer than most is, for the rest of the command.
func (h *health) rest(ctx context.Context, most time.Duration) error {
	h.mu.Lock()
	wait := time.Until(h.restUntil)
	h.mu.Unlock()
	switch {
	case wait <= 0:
		return h.err()
	case wait > most:
		h.giveUp(fmt.Errorf("it wants to be asked again only in %s", wait.Round(time.Second)))
		return h.err()
	}
	return h.sleep(ctx, wait)
}

// sleep waits, until ctx is done or the registry is given up.
func (h *health) sleep(ctx context.Context, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-h.ctx.Done():
		return h.err()
	case <-timer.C:
		return nil
	}
}

// close stops the alarm.
func (h *health) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.timer != nil {
		h.timer.Stop()
	}
}
