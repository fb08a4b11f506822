package container

import (
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/containerd/console"
	"golang.org/x/term"

	"bottlebuild/tasks/backend"
)

// endOfInput is what a terminal's user types for it.
const endOfInput = 4

// runTerminal runs the process on a terminal of its own. The runtime gets one
// end of a terminal here and keeps that in step with the one that it makes in
// the machine, size and all, whichever runtime it is. If Stdin is the user's
// terminal, it is raw for as long.
func (h *helper) runTerminal(e backend.Exec) (int, error) {
	master, name, err := console.NewPty()
	if err != nil {
		return 0, err
	}
	defer master.Close()
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return 0, err
	}
	defer slave.Close()
	if err := master.SetRaw(); err != nil { // no echo: the machine's terminal does that
		return 0, err
	}
	if user, ok := e.Stdin.(*os.File); ok && term.IsTerminal(int(user.Fd())) {
		leave, err := follow(user, master)
		if err != nil {
			return 0, err
		}
		defer leave()
	}
	h.cmd.Stdin, h.cmd.Stdout, h.cmd.Stderr = slave, slave, slave
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // a session is a group too
	if err := h.cmd.Start(); err != nil {
		return 0, err
	}
	slave.Close()
	defer h.passOn(e.Signals)()
	if e.Stdin != nil {
		go func() {
			if _, err := io.Copy(master, e.Stdin); err == nil {
				master.Write([]byte{endOfInput})
			}
		}()
	}
	out := e.Stdout
	if out == nil {
		out = io.Discard
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, master)
		copied <- err
	}()
	err = h.cmd.Wait()
	// With its other end closed, reading the terminal ends in an error, EIO.
	if cerr := <-copied; cerr != nil && !errors.Is(cerr, syscall.EIO) && err == nil {
		err = cerr
	}
	return h.result(err)
}

// follow makes the user's terminal raw and gives its size to the other, now and
// whenever it changes, until leave is called.
func follow(user *os.File, other console.Console) (leave func(), err error) {
	old, err := term.MakeRaw(int(user.Fd()))
	if err != nil {
		return nil, err
	}
	resize := func() {
		if w, h, err := term.GetSize(int(user.Fd())); err == nil {
			other.Resize(console.WinSize{Width: uint16(w), Height: uint16(h)})
		}
	}
	resize()
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-changed:
				resize()
			case <-done:
				return
			}
		}
	}()
	return func() {
		signal.Stop(changed)
		close(done)
		term.Restore(int(user.Fd()), old)
	}, nil
}
