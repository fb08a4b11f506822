package container

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// runtimeWait is how long a runtime has to end after it was killed.
const runtimeWait = 5 * time.Second

// oci drives one runtime's program.
type oci struct {
	program string // path
	root    string // where it keeps its state
}

// runtime returns the driver for a program by name or path.
func (b *Backend) runtime(program string) (oci, error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return oci{}, fmt.Errorf("find runtime %s: %w", program, err)
	}
	path, err = filepath.Abs(path)
	return oci{path, filepath.Join(b.conf.StateDir, "runtime", filepath.Base(program))}, err
}

// command prepares a call in a process group of its own, which cancelling kills.
// The runtime logs to the file, from which [logged] takes its last word.
func (o oci) command(ctx context.Context, log string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, o.program, append([]string{"--root", o.root, "--log", log, "--log-format", "json"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = runtimeWait
	return cmd
}

func killGroup(pid int) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if err == syscall.ESRCH {
		return os.ErrProcessDone
	}
	return err
}

// call runs the runtime to its end, dropping what it prints but for errors.
func (o oci) call(ctx context.Context, dir string, args ...string) error {
	return o.callTo(ctx, nil, dir, args...)
}

// callTo is call with a file for the standard output and error of the runtime,
// and so of the machine that it makes. dir is where its log goes.
func (o oci) callTo(ctx context.Context, out *os.File, dir string, args ...string) error {
	if err := os.MkdirAll(o.root, 0o700); err != nil {
		return err
	}
	log := filepath.Join(dir, "runtime.log")
	if err := ignoreNotExist(os.Remove(log)); err != nil {
		return err
	}
	cmd := o.command(ctx, log, args...)
	if out != nil {
		cmd.Stdout, cmd.Stderr = out, out
	}
	// If this process is killed, the runtime must not go on making a machine that
	// another process may by then be deleting. The kernel takes the end of the
	// thread that starts it for that of the process, so the thread must stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(o.program), args[0], logged(log, err))
	}
	return nil
}

// maxLog bounds what is read of a runtime's log, in bytes.
const maxLog = 1 << 20

// logged returns the last error in a runtime's log, or err if there is none.
func logged(log string, err error) error {
	f, oerr := os.Open(log)
	if oerr != nil {
		return err
	}
	defer f.Close()
	last := ""
	for lines := bufio.NewScanner(io.LimitReader(f, maxLog)); lines.Scan(); {
		var l struct{ Level, Msg string }
		if json.Unmarshal(bytes.TrimSpace(lines.Bytes()), &l) == nil && (l.Level == "error" || l.Level == "fatal") {
			last = l.Msg
		}
	}
	if last == "" {
		return err
	}
	return errors.New(strings.TrimSpace(last))
}

// known reports whether the runtime has state of a container of that id, which
// it may have left from before a reboot.
func (o oci) known(id string) bool {
	_, err := os.Lstat(filepath.Join(o.root, id))
	return err == nil
}

// remove ends the container if it runs and forgets it. It is no error if there is none.
func (o oci) remove(ctx context.Context, dir, id string) error {
	if !o.known(id) {
		return nil
	}
	err := o.call(ctx, dir, "delete", "--force", id)
	if ctx.Err() != nil {
		return err
	}
	// What a killed runtime left may be too little for it to delete.
	if rerr := os.RemoveAll(filepath.Join(o.root, id)); rerr != nil {
		return errors.Join(err, rerr)
	}
	return nil
}
