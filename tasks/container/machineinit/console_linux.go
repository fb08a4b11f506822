package machineinit

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// console is the machine's console: a file of the host, open for reading and
// appending. What the guest writes comes through a pipe, so it can neither write
// more than fits nor hold the file open.
type console struct {
	mu   sync.Mutex
	file *os.File
	size int64
	done chan struct{} // closed at the end of what is copied, of the latest; nil: nothing is
}

func newConsole(f *os.File) (*console, error) {
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &console{file: f, size: fi.Size()}, nil
}

// sayf writes a line of the machine's own.
func (c *console) sayf(format string, args ...any) {
	fmt.Fprintf(c, "bottlebuild: "+format+"\n", args...)
}

// Write appends p, after it has dropped older output if there is too much. A
// disk that is full loses output and does not stop the machine.
func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.size+int64(len(p)) > MaxConsole {
		c.trim()
	}
	n, err := c.file.Write(p)
	c.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write console: %w", err)
	}
	return n, nil
}

// trim keeps the newer half.
func (c *console) trim() {
	keep := make([]byte, min(c.size, MaxConsole/2))
	n, err := c.file.ReadAt(keep, c.size-int64(len(keep)))
	if err != nil && err != io.EOF {
		n = 0
	}
	if c.file.Truncate(0) != nil {
		return
	}
	m, _ := c.file.Write(keep[:n])
	c.size = int64(m)
}

// copyFrom starts to write all of r to the console.
func (c *console) copyFrom(r io.ReadCloser) {
	done := make(chan struct{})
	c.done = done
	go func() {
		defer close(done)
		defer r.Close()
		buf := make([]byte, 32<<10)
		for {
			n, err := r.Read(buf)
			c.Write(buf[:n])
			if err != nil {
				return
			}
		}
	}()
}

// drain waits a moment for the rest of what processes that have ended wrote.
func (c *console) drain() {
	if c.done == nil {
		return
	}
	select {
	case <-c.done:
	case <-time.After(time.Second):
	}
}
