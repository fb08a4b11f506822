package main

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/progress/progressui"
	"github.com/opencontainers/go-digest"

	"bottlebuild/tasks/progress"
)

// display shows the progress of all nodes through BuildKit's own progress UI.
type display struct {
	status chan *client.SolveStatus
	done   chan struct{}
	err    error

	mu     sync.Mutex
	closed bool
	failed map[string]bool // nodes that have shown an error of their own
}

// checkProgress reports a mode that there is none of; origin is where it comes from.
func checkProgress(origin, mode string) error {
	if slices.Contains(progressModes, mode) {
		return nil
	}
	return usageError("%s %q: use one of %s", origin, mode, strings.Join(progressModes, ", "))
}

// hasFailed reports whether the node at address has shown an error.
func (d *display) hasFailed(address string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed[address]
}

// progressModes are the values of --progress.
var progressModes = []string{"auto", "plain", "tty", "quiet", "rawjson"}

// openDisplay starts a display on out; mode is one of progressModes.
func openDisplay(out *os.File, mode string) (*display, error) {
	ui, err := progressui.NewDisplay(out, progressui.DisplayMode(mode))
	if err != nil {
		return nil, usageError("--progress %s: %w", mode, err)
	}
	d := &display{failed: map[string]bool{}, status: make(chan *client.SolveStatus), done: make(chan struct{})}
	go func() {
		defer close(d.done)
		// Not the command's context: what led to a cancellation is shown too.
		_, d.err = ui.UpdateFrom(context.Background(), d.status)
		for range d.status { // a display that failed must not stop the work
		}
	}()
	return d, nil
}

// close waits until all has been shown. What is reported later is dropped.
func (d *display) close() error {
	d.mu.Lock()
	d.closed = true
	close(d.status)
	d.mu.Unlock()
	<-d.done
	return d.err
}

// sink returns where the node at address reports to.
func (d *display) sink(address string) progress.Sink { return nodeSink{d, address} }

// nodeSink makes a node's vertices its own: equal vertices of two builds would
// otherwise be shown as one, under the name that came first.
type nodeSink struct {
	d       *display
	address string
}

func (n nodeSink) Status(s *client.SolveStatus) {
	own := func(d digest.Digest) digest.Digest { return digest.FromString(n.address + "\x00" + string(d)) }
	out := &client.SolveStatus{}
	for _, v := range s.Vertexes {
		c := *v
		c.Name = "[" + n.address + "] " + c.Name
		c.Digest = own(c.Digest)
		c.Inputs = slices.Clone(c.Inputs)
		for i := range c.Inputs {
			c.Inputs[i] = own(c.Inputs[i])
		}
		out.Vertexes = append(out.Vertexes, &c)
	}
	for _, v := range s.Statuses {
		c := *v
		c.Vertex = own(c.Vertex)
		out.Statuses = append(out.Statuses, &c)
	}
	for _, v := range s.Logs {
		c := *v
		c.Vertex = own(c.Vertex)
		out.Logs = append(out.Logs, &c)
	}
	for _, v := range s.Warnings {
		c := *v
		c.Vertex = own(c.Vertex)
		out.Warnings = append(out.Warnings, &c)
	}
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.closed {
		return
	}
	for _, v := range out.Vertexes {
		if v.Error != "" {
			n.d.failed[n.address] = true
		}
	}
	n.d.status <- out
}
