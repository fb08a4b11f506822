package buildkit

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// idleGate counts the requests in flight and closes, once and for good, when
// there has been none for a while, or there is none and the state is lost. A
// request that comes after that is turned away with codes.Unavailable, upon which
// a client starts the next daemon.
type idleGate struct {
	after   time.Duration // 0: it never closes
	lost    func() bool   // tells that the daemon's state is gone or another's
	expired chan struct{} // closed when the gate is

	mu       sync.Mutex
	inFlight int
	closed   bool
	timer    *time.Timer // nil if after is 0
}

func newIdleGate(after time.Duration, lost func() bool) *idleGate {
	g := &idleGate{after: after, lost: lost, expired: make(chan struct{})}
	if after > 0 {
		g.timer = time.AfterFunc(after, g.expire)
	}
	return g
}

func (g *idleGate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut()
}

// look closes the gate if the state is lost.
func (g *idleGate) look() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inFlight == 0 && !g.closed && g.lost() {
		g.shut()
	}
}

// shut closes the gate unless something is in flight. g.mu is held.
func (g *idleGate) shut() {
	if g.inFlight == 0 && !g.closed {
		g.closed = true
		close(g.expired)
	}
}

func (g *idleGate) enter() error {
	g.look()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return status.Error(codes.Unavailable, "this BuildKit daemon is leaving: it has been idle, or its state is gone")
	}
	g.inFlight++
	if g.timer != nil {
		g.timer.Stop()
	}
	return nil
}

func (g *idleGate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inFlight--
	if g.inFlight == 0 && g.timer != nil && !g.closed {
		g.timer.Reset(g.after)
	}
}

// stop ends the timer.
func (g *idleGate) stop() {
	if g.timer != nil {
		g.timer.Stop()
	}
}

func (g *idleGate) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := g.enter(); err != nil {
		return nil, err
	}
	defer g.leave()
	return next(ctx, req)
}

func (g *idleGate) stream(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := g.enter(); err != nil {
		return err
	}
	defer g.leave()
	return next(srv, s)
}
