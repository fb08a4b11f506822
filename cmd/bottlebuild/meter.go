package main

import (
	"fmt"
	"sync"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/term"
)

// meter shows on a terminal how many bytes of something are done, and at which
// rate; elsewhere nothing.
type meter struct {
	a     *app
	what  string
	start time.Time

	mu    sync.Mutex
	shown time.Time
	drawn bool
}

func (a *app) newMeter(what string) *meter {
	return &meter{a: a, what: what, start: time.Now()}
}

// set is called as often as one likes.
func (m *meter) set(done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	const refresh = 200 * time.Millisecond
	if now.Sub(m.shown) < refresh || now.Sub(m.start) < refresh || !term.IsTerminal(int(m.a.stderr.Fd())) {
		return
	}
	m.shown, m.drawn = now, true
	rate := float64(done) / now.Sub(m.start).Seconds()
	fmt.Fprintf(m.a.stderr, "\r%s %s of %s, %s/s\x1b[K", m.what,
		units.BytesSize(float64(done)), units.BytesSize(float64(total)), units.BytesSize(rate))
}

// close takes the line away.
func (m *meter) close() {
	if m.drawn {
		fmt.Fprint(m.a.stderr, "\r\x1b[K")
	}
}
