package smolvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"bottlebuild/tasks/backend"
)

const (
	// killGrace is how long a cancelled command may take to clean up.
	killGrace = 3 * time.Second
	// maxStdout bounds what is kept of an answer; a list of machines is the longest.
	maxStdout = 32 << 20
	// maxTail bounds what is kept of the end of stderr.
	maxTail = 8 << 10
)

// command is one call of smolvm.
type command struct {
	args    []string
	dir     string   // empty: "/", where no file can be taken for an argument
	env     []string // on top of the configured one
	stdin   io.Reader
	stdout  io.Writer
	stderr  io.Writer
	signals <-chan os.Signal // to be passed on; nil: none
	// started is told the process's number; nil: nobody.
	started func(pid int)
	// foreground keeps the command in this process's group, without which it
	// could not read from the terminal.
	foreground bool
}

// commandError is a failure that smolvm reported.
type commandError struct {
	what    string // "machine create"
	code    int
	message string // what it said on stderr, without control characters
}

func (e *commandError) Error() string {
	msg := e.message
	if msg == "" {
		msg = "it said nothing"
	}
	return fmt.Sprintf("smolvm %s: exit code %d: %s%s", e.what, e.code, msg, e.advice())
}

func (e *commandError) advice() string {
	switch {
	case strings.Contains(e.message, "kvm permission denied"):
		return " (join the group of /dev/kvm with \"sudo usermod -aG kvm $USER\" and log in again)"
	case strings.Contains(e.message, "kvm not available"):
		return " (turn on virtualisation in the firmware, or nested virtualisation for this host)"
	case e.slowBoot():
		return " (the host is too busy or short of memory to boot a virtual machine: run fewer jobs at once with -j)"
	}
	return ""
}

// Unwrap maps what is known of smolvm's messages to errors that callers know.
func (e *commandError) Unwrap() error {
	switch {
	case strings.Contains(e.message, "vm not found: "):
		return backend.ErrNotFound
	case strings.Contains(e.message, "kvm not available"), strings.Contains(e.message, "kvm permission denied"):
		return backend.ErrUnavailable
	case strings.Contains(e.message, "No space left on device"):
		return syscall.ENOSPC
	}
	return nil
}

func (e *commandError) slowBoot() bool {
	return strings.Contains(e.message, "agent did not become ready")
}

// isSlowBoot tells a virtual machine that was too slow, which may work next time.
func isSlowBoot(err error) bool {
	var ce *commandError
	return errors.As(err, &ce) && ce.slowBoot()
}

// run runs smolvm to its end and returns its exit code and the end of what it
// wrote to stderr. The error is that of starting it, or ctx's.
func (b *Backend) run(ctx context.Context, p *program, c command) (int, string, error) {
	var errTail tail
	cmd := exec.CommandContext(ctx, p.path, c.args...)
	cmd.Dir = c.dir
	if cmd.Dir == "" {
		cmd.Dir = "/"
	}
	cmd.Env = slices.Concat(b.cfg.Env, c.env, []string{"NO_COLOR=1"})
	cmd.Stdout = c.stdout
	cmd.Stderr = &errTail
	if c.stderr != nil {
		cmd.Stderr = io.MultiWriter(&errTail, c.stderr)
	}
	group := !c.foreground
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
	var kill *time.Timer
	cmd.Cancel = func() error {
		pid := cmd.Process.Pid
		if group {
			pid = -pid
		}
		kill = time.AfterFunc(killGrace, func() { syscall.Kill(pid, syscall.SIGKILL) })
		return syscall.Kill(pid, syscall.SIGTERM)
	}
	cmd.WaitDelay = killGrace + time.Second
	closeStdin, err := feed(cmd, c.stdin)
	if err != nil {
		return 0, "", err
	}
	defer closeStdin()
	if err := cmd.Start(); err != nil {
		return 0, "", fmt.Errorf("start %s: %w", p.path, err)
	}
	if c.started != nil {
		c.started(cmd.Process.Pid)
	}
	done := make(chan struct{})
	go func() {
		for {
			select {
			case s := <-c.signals:
				_ = cmd.Process.Signal(s) // what becomes of it is smolvm's choice
			case <-done:
				return
			}
		}
	}()
	err = cmd.Wait()
	close(done)
	if kill != nil {
		kill.Stop()
	}
	if ctx.Err() != nil {
		if group {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // whoever outlived its leader
		}
		return 0, "", context.Cause(ctx)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() < 0:
		return 0, "", fmt.Errorf("%s: %w: %s", p.path, err, clean(errTail.String()))
	case errors.As(err, &exit), errors.Is(err, exec.ErrWaitDelay):
		// ErrWaitDelay: it succeeded and left a process that holds its output open.
		err = nil
	}
	return cmd.ProcessState.ExitCode(), errTail.String(), err
}

// feed gives the command its stdin. A file is handed over; any other reader is
// copied by a goroutine that nobody waits for, since a Read of it may never
// return, and which ends when one does after the command is gone.
func feed(cmd *exec.Cmd, r io.Reader) (func(), error) {
	switch r := r.(type) {
	case nil:
		return func() {}, nil // /dev/null
	case *os.File:
		cmd.Stdin = r
		return func() {}, nil
	default:
		w, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		go func() {
			io.Copy(w, r)
			w.Close()
		}()
		return func() { w.Close() }, nil
	}
}

// runProgram runs a command of p and returns what it wrote to stdout. An exit
// code other than 0 is a *commandError.
func (b *Backend) runProgram(ctx context.Context, p *program, args ...string) (string, error) {
	patience := b.patience(args)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("smolvm %s: %w within %s", what(args), errSilent, patience))
	defer cancel()
	var out limited
	code, stderr, err := b.run(ctx, p, command{args: args, stdout: &out})
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", &commandError{what: what(args), code: code, message: message(stderr)}
	}
	if out.full {
		return "", fmt.Errorf("its answer is over %d bytes", maxStdout)
	}
	return out.String(), nil
}

// errSilent: smolvm has not ended.
var errSilent = fmt.Errorf("%w: it did not end", backend.ErrUnavailable)

// patience is how long a command may take, so that one that hangs does not hang
// whoever asks.
func (b *Backend) patience(args []string) time.Duration {
	if len(args) > 1 && slices.Contains([]string{"create", "start", "stop", "delete", "cp"}, args[1]) && args[len(args)-1] != "--help" {
		return 20 * b.cfg.Patience
	}
	return b.cfg.Patience
}

// call is runProgram with the program that was found.
func (b *Backend) call(ctx context.Context, args ...string) (string, error) {
	p, err := b.program(ctx)
	if err != nil {
		return "", err
	}
	return b.runProgram(ctx, p, args...)
}

// what names a command without its operands.
func what(args []string) string {
	n := slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "-") })
	if n <= 0 {
		n = len(args)
	}
	return strings.Join(args[:n], " ")
}

// message is the part of stderr that says what went wrong: from the last line
// that begins as smolvm's own errors do.
func message(stderr string) string {
	s := clean(stderr)
	if i := strings.LastIndex("\n"+s, "\nError: "); i >= 0 {
		return strings.TrimPrefix(s[i:], "Error: ")
	}
	return s
}

// clean makes text that a program wrote safe to print: no escape sequences and
// no control characters but line feeds.
func clean(s string) string {
	s = ansi.ReplaceAllString(s, "")
	s = strings.ReplaceAll(s, "\r", "\n")
	s = strings.Map(func(r rune) rune {
		if r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return strings.TrimSpace(s)
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b = slices.Delete(t.b, 0, over)
	}
	return len(p), nil
}

func (t *tail) String() string { return string(t.b) }

// limited keeps the first maxStdout bytes of what is written to it.
type limited struct {
	bytes.Buffer
	full bool
}

func (l *limited) Write(p []byte) (int, error) {
	if room := maxStdout - l.Len(); len(p) > room {
		l.full = true
		l.Buffer.Write(p[:room])
		return len(p), nil
	}
	return l.Buffer.Write(p)
}
