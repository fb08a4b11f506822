package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// signalPause is for how long after the first signal more of them count as one.
const signalPause = 300 * time.Millisecond

// errInterrupted is the cause of a context that a signal has cancelled.
var errInterrupted = errors.New("interrupted")

// signals deals with those that ask this process to end: the first cancels what
// it does, the second ends it at once. Whoever passes signals on to another
// process takes them over meanwhile.
type signals struct {
	mu   sync.Mutex
	give func(os.Signal) // nil: nobody has taken over
}

// more are the signals that are passed on and mean nothing to this process.
var more = []os.Signal{syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2}

// watch deals with signals until stop is called.
func (s *signals) watch(cancel context.CancelCauseFunc) (stop func()) {
	c := make(chan os.Signal, 2)
	signal.Notify(c, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		for sig := range c {
			if s.taken(sig) {
				continue
			}
			cancel(errInterrupted)
			// Some tools send a signal to the process and to its group.
			time.Sleep(signalPause)
			for len(c) > 0 {
				<-c
			}
			<-c // the user does not want to wait for cleaning up
			fmt.Fprintln(os.Stderr, "bottlebuild: interrupted twice, leaving at once")
			killChildren()
			os.Exit(exitInterrupted)
		}
	}()
	return func() { signal.Stop(c) }
}

// taken gives the signal to whoever has taken over.
func (s *signals) taken(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.give != nil {
		s.give(sig)
	}
	return s.give != nil
}

// take has give called with every signal until release is called.
func (s *signals) take(give func(os.Signal)) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.give = give
	c := make(chan os.Signal, 16)
	signal.Notify(c, more...)
	go func() {
		for sig := range c {
			s.taken(sig)
		}
	}()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		signal.Stop(c)
		close(c)
		s.give = nil
	}
}

// patience is the how manieth SIGINT or SIGTERM is not passed on any more.
const patience = 3

// passOn puts signals into a channel, and cancels instead when a command does
// not end by them.
func passOn(to chan<- os.Signal, cancel context.CancelCauseFunc) func(os.Signal) {
	asked := 0
	return func(sig os.Signal) {
		if sig == os.Interrupt || sig == syscall.SIGTERM {
			if asked++; asked == patience {
				cancel(errInterrupted)
				return
			}
		}
		select {
		case to <- sig:
		default: // so many at once that one more says nothing new
		}
	}
}
