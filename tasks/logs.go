package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"

	"bottlebuild/tasks/backend"
)

// LogOptions say what of a machine's console is wanted.
type LogOptions struct {
	Lines      int  // only so many of the last lines; below 0: all
	SinceStart bool // only what came since the machine started last, as far as the backend notes that
	Follow     bool // go on with what is added, through stops and starts, until the machine is removed or the context ends
}

// maxConsole bounds how much of a console is read at once, from its end, in bytes.
const maxConsole = 64 << 20

// followPoll is how often a console is looked at for more.
const followPoll = 200 * time.Millisecond

// Logs writes a machine's console to out.
func (w *Worker) Logs(ctx context.Context, name string, o LogOptions, out io.Writer) error {
	be, _, err := w.find(ctx, name)
	if err != nil {
		return err
	}
	path, err := be.Console(ctx, name)
	if err != nil {
		return err
	}
	f, err := openConsole(path)
	if err != nil {
		return fmt.Errorf("console of machine %s: %w", name, err)
	}
	t := &follower{path: path, file: f}
	defer t.close()
	text, err := t.rest(maxConsole)
	if err != nil {
		return fmt.Errorf("console of machine %s: %w", name, err)
	}
	if _, err := out.Write(o.wanted(text)); err != nil || !o.Follow {
		return err
	}
	return t.follow(ctx, be, name, out)
}

// wanted cuts a console down to what the options ask for.
func (o LogOptions) wanted(text []byte) []byte {
	if o.SinceStart {
		if i := bytes.LastIndex(append([]byte("\n"), text...), []byte("\n"+backend.StartLine+"\n")); i >= 0 {
			text = text[i:]
		}
	}
	if o.Lines < 0 {
		return text
	}
	end := len(bytes.TrimSuffix(text, []byte("\n")))
	for range o.Lines {
		if end = bytes.LastIndexByte(text[:max(end, 0)], '\n'); end < 0 {
			return text
		}
	}
	if o.Lines == 0 {
		return nil
	}
	return text[end+1:]
}

// openConsole opens a console; nil if there is none yet.
func openConsole(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is no plain file", path))
	}
	return f, nil
}

// follower reads a console as it grows, is cut short, or replaced.
type follower struct {
	path string
	file *os.File // nil: there is none yet
	at   int64    // that has been read up to
}

func (t *follower) close() {
	if t.file != nil {
		t.file.Close()
	}
}

// rest returns what has been added since the last call, the last most bytes of it.
func (t *follower) rest(most int64) ([]byte, error) {
	if t.file == nil {
		return nil, nil
	}
	fi, err := t.file.Stat()
	if err != nil {
		return nil, err
	}
	if fi.Size() < t.at { // its older part was dropped, of what was read already
		t.at = fi.Size()
	}
	from := max(t.at, fi.Size()-most)
	buf := make([]byte, fi.Size()-from)
	n, err := t.file.ReadAt(buf, from)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	t.at = from + int64(n)
	return buf[:n], err
}

// next opens the file that has taken the place of the one that is read.
func (t *follower) next() error {
	f, err := openConsole(t.path)
	if err != nil || f == nil {
		return err
	}
	if t.file != nil {
		a, aerr := t.file.Stat()
		b, berr := f.Stat()
		if aerr == nil && berr == nil && os.SameFile(a, b) {
			return f.Close()
		}
		t.file.Close()
	}
	t.file, t.at = f, 0
	return nil
}

// follow copies what is added until the machine is no more.
func (t *follower) follow(ctx context.Context, be backend.Backend, name string, out io.Writer) error {
	const polls = 5 // after so many without news it is asked whether there is the machine
	for quiet := 0; ; quiet++ {
		gone := false
		if quiet >= polls {
			quiet = 0
			_, err := be.Status(ctx, name)
			if gone = errors.Is(err, backend.ErrNotFound); err != nil && !gone {
				return err
			}
		}
		for range 2 { // what was left of a file, and the one in its place
			text, err := t.rest(maxConsole)
			if err != nil {
				return fmt.Errorf("console of machine %s: %w", name, err)
			}
			if len(text) > 0 {
				quiet = 0
				if _, err := out.Write(text); err != nil {
					return err
				}
			}
			if err := t.next(); err != nil {
				return fmt.Errorf("console of machine %s: %w", name, err)
			}
		}
		if gone {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(followPoll):
		}
	}
}
