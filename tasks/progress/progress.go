// Package progress reports the work of nodes in the form of BuildKit's own
// progress, so that one display shows builds and everything else.
package progress

import (
	"io"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// Sink takes the progress of one node. It may be called from several goroutines.
type Sink interface {
	Status(*client.SolveStatus)
}

// Discard is a Sink that drops everything.
type Discard struct{}

// Status does nothing.
func (Discard) Status(*client.SolveStatus) {}

// Step is one line of the display: a vertex that is not BuildKit's.
type Step struct {
	sink   Sink
	vertex client.Vertex
}

// Start begins a step. The sink is of one node, so names need only differ within it.
func Start(sink Sink, name string) *Step {
	now := time.Now()
	s := &Step{sink, client.Vertex{Digest: digest.FromString(name), Name: name, Started: &now}}
	s.send()
	return s
}

// Done ends the step, as failed if err is not nil. Call it once.
func (s *Step) Done(err error) {
	now := time.Now()
	s.vertex.Completed = &now
	if err != nil {
		s.vertex.Error = err.Error()
	}
	s.send()
}

// Cached ends the step as one whose result was there.
func (s *Step) Cached() {
	s.vertex.Cached = true
	s.Done(nil)
}

// Bytes reports how far a transfer has come, of a total that is 0 if not known.
func (s *Step) Bytes(id string, current, total int64) {
	now := time.Now()
	st := &client.VertexStatus{ID: id, Vertex: s.vertex.Digest, Current: current, Total: total, Timestamp: now, Started: s.vertex.Started}
	if total > 0 && current >= total {
		st.Completed = &now
	}
	s.sink.Status(&client.SolveStatus{Statuses: []*client.VertexStatus{st}})
}

// Writer returns a writer whose output is shown as the step's log.
func (s *Step) Writer() io.Writer { return logWriter{s} }

type logWriter struct{ s *Step }

func (w logWriter) Write(p []byte) (int, error) {
	w.s.sink.Status(&client.SolveStatus{Logs: []*client.VertexLog{{
		Vertex: w.s.vertex.Digest, Stream: 1, Data: append([]byte(nil), p...), Timestamp: time.Now(),
	}}})
	return len(p), nil
}

func (s *Step) send() {
	v := s.vertex
	s.sink.Status(&client.SolveStatus{Vertexes: []*client.Vertex{&v}})
}
