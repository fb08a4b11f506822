package remote

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"

	"bottlebuild/cache"
)

// watched is a Step that remembers what it was told.
type watched struct {
	mu    sync.Mutex
	bytes map[string][]int64
	total map[string]int64
	done  []error
}

func (w *watched) Bytes(id string, current, total int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bytes[id] = append(w.bytes[id], current)
	w.total[id] = total
}

func (w *watched) Done(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, err)
}

func watching(step *watched) func(*Config) {
	step.bytes, step.total = map[string][]int64{}, map[string]int64{}
	return func(c *Config) {
		c.Sending = func(*cache.Entry, string) Step { return step }
	}
}

// TestPushIsShown: how far a blob has come is told while it is sent.
func TestPushIsShown(t *testing.T) {
	w := newWorld(t)
	var step watched
	one := w.machine(watching(&step))
	const size = 1 << 20
	e := one.make(t, "web", strings.Repeat("x", size), "small")
	one.publish(t.Context(), e)
	large := e.Output.Blobs[0].Digest.String()
	told := step.bytes[large]
	if len(told) < 5 || told[0] >= size/2 || told[len(told)-1] != size || step.total[large] != size {
		t.Errorf("it was told %d of %d", told, step.total[large])
	}
	for i := 1; i < len(told); i++ {
		if told[i] < told[i-1] {
			t.Errorf("it went back from %d to %d", told[i-1], told[i])
		}
	}
	if len(step.done) != 1 || step.done[0] != nil {
		t.Errorf("it ended with %v", step.done)
	}
	// What is there already is not shown.
	one.publish(t.Context(), e)
	two := w.machine(watching(&step))
	two.publish(t.Context(), e)
	if len(step.done) != 1 {
		t.Error("an entry that was there was shown as sent")
	}
}

// TestPushIsCalledOff: what is under way ends with the context.
func TestPushIsCalledOff(t *testing.T) {
	for _, op := range []string{"GET record", "POST upload", "PATCH upload", "PUT record", "PUT index"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			one := w.machine(nil)
			ctx, cancel := context.WithCancelCause(t.Context())
			var once sync.Once
			w.inject(func(rw http.ResponseWriter, r *http.Request) bool {
				if operation(r) != op {
					return false
				}
				once.Do(func() { cancel(errors.New("stopped")) })
				stall(rw, r, nil)
				return true
			})
			one.publish(ctx, one.make(t, "web", "content"))
			if ctx.Err() == nil {
				t.Error("it was not even asked")
			}
			if one.said("not stored") || one.said("not written") {
				t.Errorf("what was called off is told as a fault: %q", one.notices)
			}
		})
	}
}
