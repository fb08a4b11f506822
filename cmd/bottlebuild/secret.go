package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"bottlebuild/tasks"
)

// maxSecret bounds a secret's value, in bytes, as BuildKit does.
const maxSecret = 500 << 10

// secret reads the value of a secret. A value that is not there, or is empty, is
// an error of usage that says where it was looked for. No error shows what a
// command has printed, on either stream.
func (a *app) secret(ctx context.Context, ref tasks.SecretRef) ([]byte, error) {
	switch {
	case ref.Env != "":
		if v := a.env(ref.Env); v != "" {
			return []byte(v), nil
		}
		return nil, usageError("the environment variable %s, which it is read from, is not set or empty", ref.Env)
	case ref.File != "":
		return secretFile(ref.File)
	}
	return secretCommand(ctx, ref.Command)
}

func secretFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageError("the file that it is read from: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	switch {
	case err != nil:
		return nil, usageError("the file that it is read from: %w", err)
	case len(b) == 0:
		return nil, usageError("the file %s, which it is read from, is empty", path)
	case len(b) > maxSecret:
		return nil, usageError("the file %s, which it is read from, has more than %d bytes", path, maxSecret)
	}
	return b, nil
}

func secretCommand(ctx context.Context, args []string) ([]byte, error) {
	shown := strings.Join(args, " ")
	out := &boundedBuffer{limit: maxSecret}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stdout = out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 2 * time.Second
	err := cmd.Run()
	value := bytes.TrimSuffix(out.Bytes(), []byte("\n"))
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errTooLong):
		return nil, usageError("the command that prints it, %q, prints more than %d bytes", shown, maxSecret)
	case err != nil:
		return nil, usageError("the command that prints it, %q: %w; run it by hand to see what it says", shown, err)
	case len(value) == 0:
		return nil, usageError("the command that prints it, %q, prints nothing", shown)
	}
	return value, nil
}

var errTooLong = errors.New("too long")

// boundedBuffer fails when more than limit bytes are written to it.
type boundedBuffer struct {
	bytes.Buffer
	limit int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, fmt.Errorf("%w: over %d bytes", errTooLong, b.limit)
	}
	return b.Buffer.Write(p)
}
