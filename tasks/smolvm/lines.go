package smolvm

import (
	"io"
	"slices"
	"sync"

	"bottlebuild/internal/lazyregexp"
)

// ansi matches terminal escape sequences: ECMA-48 control sequences, operating
// system commands, and the two-byte ones.
var ansi = lazyregexp.New(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])`)

// maxLine bounds a line that is kept until it ends.
const maxLine = 4 << 10

// lines passes on whole lines, cleaned and never two alike in a row, of what a
// program draws on a terminal. Writes may come from several goroutines.
type lines struct {
	mu   sync.Mutex
	to   io.Writer
	rest []byte
	last string
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range p {
		if c == '\n' || c == '\r' || len(l.rest) >= maxLine {
			l.flush()
		}
		if c != '\n' && c != '\r' {
			l.rest = append(l.rest, c)
		}
	}
	return len(p), nil
}

// flush passes on the line so far. What cannot be written is dropped: it is
// there to be looked at, no more.
func (l *lines) flush() {
	line := clean(string(l.rest))
	l.rest = slices.Delete(l.rest, 0, len(l.rest))
	if line != "" && line != l.last {
		l.last = line
		io.WriteString(l.to, line+"\n")
	}
}

// Close passes on a last line without an end.
func (l *lines) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flush()
	return nil
}
