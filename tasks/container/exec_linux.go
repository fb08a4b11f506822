package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/container/machineinit"
)

// Exec implements [backend.Backend]. As with docker, a command that is not there
// ends with 127, one that cannot be run with 126, and the reason on Stderr; and
// Exec returns when the command's output is closed, also by children that it
// left in the background. A reader that never ends, as Stdin, is read once more
// after Exec has returned.
func (b *Backend) Exec(ctx context.Context, name string, e backend.Exec) (int, error) {
	code, err := b.exec(ctx, name, e)
	if err != nil {
		return -1, fmt.Errorf("exec in machine %s: %w", name, err)
	}
	return code, nil
}

func (b *Backend) exec(ctx context.Context, name string, e backend.Exec) (int, error) {
	if len(e.Args) == 0 {
		return 0, errors.New("no command")
	}
	for _, env := range []map[string]string{e.Env, e.SecretEnv} {
		if err := checkEnv(env); err != nil {
			return 0, err
		}
	}
	m, err := b.load(name)
	if err != nil {
		return 0, err
	}
	extra := map[string]string{}
	if e.TTY {
		extra["TERM"] = "xterm"
	}
	env := m.environ(extra, m.Spec.Env, m.Spec.SecretEnv, e.Env, e.SecretEnv)
	args := []string{machineinit.Exec, orElse(e.User, m.Document.Run.User), orElse(e.Workdir, m.Document.Run.Workdir)}
	h, err := b.helper(ctx, m, m.process(env, e.TTY, append(args, e.Args...)...))
	if err != nil {
		return 0, err
	}
	defer h.close()
	if e.TTY {
		return h.runTerminal(e)
	}
	return h.run(e)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// helper is one process that the runtime adds to a running machine.
type helper struct {
	ctx  context.Context
	dir  string // of its own, removed at the end
	spec *os.File
	cmd  *exec.Cmd
}

// helper prepares the process. Its description, which may hold secrets, is in
// memory only: the runtime reads it through a descriptor.
func (b *Backend) helper(ctx context.Context, m *machine, process any) (h *helper, err error) {
	r, err := b.running(m.Spec.Name)
	if err != nil {
		return nil, err
	}
	rt, err := b.runtime(r.Runtime)
	if err != nil {
		return nil, err
	}
	h = &helper{ctx: ctx}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.dir, err = os.MkdirTemp(b.dir(m.Spec.Name), "exec-"); err != nil {
		return nil, err
	}
	text, err := json.Marshal(process)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("process.json", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	h.spec = os.NewFile(uintptr(fd), "process.json")
	if _, err := h.spec.Write(text); err != nil {
		return nil, err
	}
	h.cmd = rt.command(ctx, h.log(), "exec", "--process", "/proc/self/fd/3", "--pid-file", h.pidFile(), b.id(m.Spec.Name))
	h.cmd.ExtraFiles = []*os.File{h.spec} // 3
	h.cmd.Cancel = h.kill
	return h, nil
}

func (h *helper) log() string     { return filepath.Join(h.dir, "log") }
func (h *helper) pidFile() string { return filepath.Join(h.dir, "pid") }

func (h *helper) close() {
	if h.spec != nil {
		h.spec.Close()
	}
	if h.dir != "" {
		os.RemoveAll(h.dir)
	}
}

// kill ends the process in the machine with its group, and then the runtime,
// which in the common case has seen it end by then. A process that the runtime
// is just about to start is waited for.
func (h *helper) kill() error {
	for range 100 {
		if pid, err := readPID(h.pidFile()); err == nil {
			// The runtime is its parent and has not waited for it, as this runs
			// only before the runtime ended: the number is still its own. It is
			// leader of a session, and so of a group.
			unix.Kill(-pid, unix.SIGKILL)
			unix.Kill(pid, unix.SIGKILL)
			break
		}
		if unix.Kill(h.cmd.Process.Pid, 0) != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(50 * time.Millisecond)
	return killGroup(h.cmd.Process.Pid)
}

// passOn gives signals to the process in the machine until stop is called. One
// that comes before there is a process is given to it when there is.
func (h *helper) passOn(signals <-chan os.Signal) (stop func()) {
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case s := <-signals:
				for h.signal(s) != nil {
					select {
					case <-done:
						return
					case <-time.After(10 * time.Millisecond):
					}
				}
			}
		}
	}()
	return func() { close(done) }
}

// signal fails only if there is no process in the machine yet: the runtime,
// which is its parent, has it as a zombie until it ends itself.
func (h *helper) signal(s os.Signal) error {
	pid, err := readPID(h.pidFile())
	if err == nil {
		unix.Kill(pid, s.(unix.Signal))
	}
	return err
}

// run runs the process with pipes.
func (h *helper) run(e backend.Exec) (int, error) {
	h.cmd.Stdout, h.cmd.Stderr = e.Stdout, e.Stderr
	defer h.passOn(e.Signals)()
	if e.Stdin != nil {
		// Not cmd.Stdin: Wait would wait for a reader that never ends.
		in, err := h.cmd.StdinPipe()
		if err != nil {
			return 0, err
		}
		if err := h.cmd.Start(); err != nil {
			return 0, err
		}
		go func() {
			io.Copy(in, e.Stdin) // the command need not read it all
			in.Close()
		}()
	} else if err := h.cmd.Start(); err != nil {
		return 0, err
	}
	return h.result(h.cmd.Wait())
}

// result makes of how the runtime ended what Exec returns. The process was
// started if there is its number.
func (h *helper) result(err error) (int, error) {
	if h.ctx.Err() != nil {
		return 0, h.ctx.Err()
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return 0, err
	}
	if _, perr := readPID(h.pidFile()); perr != nil {
		return 0, fmt.Errorf("the runtime could not start the command: %w", logged(h.log(), orError(err, perr)))
	}
	return h.cmd.ProcessState.ExitCode(), nil
}

func orError(err, other error) error {
	if err == nil {
		return other
	}
	return err
}
