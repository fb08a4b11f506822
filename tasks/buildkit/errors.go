// Package buildkit builds Dockerfiles: it finds a BuildKit daemon or starts the
// one compiled into this binary, says without any daemon what a Dockerfile
// reads, and builds straight into the content store.
package buildkit

import (
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/parser"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

// ErrUnavailable is wrapped by errors that mean there is no builder to be had.
// Their messages say what is missing and how to get it. The tool exits with 4.
var ErrUnavailable = errors.New("builder unavailable")

// DockerfileError is a mistake in a Dockerfile, or a step of it that failed.
type DockerfileError struct {
	File       string // as given in Definition.File
	Line, Last int    // first and last line it is about, from 1; 0: of the whole file
	Source     string // those lines, without the last newline
	ExitCode   int    // of the process that a failed RUN ran; 0: it is no such failure
	Err        error
}

// Error returns "FILE:LINE: message".
func (e *DockerfileError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.File, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err)
}

func (e *DockerfileError) Unwrap() error { return e.Err }

// inDockerfile gives err its place in the Dockerfile d if it has one, which is
// in the details that BuildKit and translate attach. Any other error is returned
// as it is.
func inDockerfile(err error, d *Definition) error {
	if err == nil {
		return nil
	}
	e := &DockerfileError{File: d.File, Err: err}
	var exit *gateway.ExitError
	if errors.As(err, &exit) {
		e.ExitCode = int(exit.ExitCode)
	}
	if sources := errdefs.Sources(err); len(sources) > 0 {
		e.place(sources[len(sources)-1].Ranges)
	}
	if e.Line == 0 && e.ExitCode == 0 {
		return err
	}
	lines := strings.Split(string(d.Dockerfile), "\n")
	if first, last := max(e.Line, 1), min(e.Last, len(lines)); first <= last {
		e.Source = strings.Join(lines[first-1:last], "\n")
	}
	return e
}

func (e *DockerfileError) place(ranges []*pb.Range) {
	for _, r := range ranges {
		first, last := int(r.GetStart().GetLine()), int(r.GetEnd().GetLine())
		if first == 0 {
			continue
		}
		if e.Line == 0 || first < e.Line {
			e.Line = first
		}
		e.Last = max(e.Last, first, last)
	}
}

// locations returns what places in the Dockerfile the parser gave for err.
func locations(err error) [][]parser.Range {
	var located *parser.LocationError
	if errors.As(err, &located) {
		return located.Locations
	}
	return nil
}
