package tasks

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"bottlebuild/tasks/backend"
)

// guest is a machine in which commands are run: with its environment, which
// backends lose, and its secrets, whose values are read when a command needs them.
type guest struct {
	w  *Worker
	be backend.Backend
	p  Machine

	secret map[string]string // values of secrets that have been read, by variable
}

func (w *Worker) guest(be backend.Backend, p Machine) *guest {
	return &guest{w: w, be: be, p: p, secret: map[string]string{}}
}

// splitEnv parts the machine's environment in what may stand in argument lists
// and what is sensitive.
func splitEnv(p Machine) (plain, sensitive map[string]string) {
	plain, sensitive = map[string]string{}, map[string]string{}
	for name, value := range p.Env {
		if hides(p.Sensitive, "env."+name) {
			sensitive[name] = value
		} else {
			plain[name] = value
		}
	}
	return plain, sensitive
}

// command completes a command with the machine's environment, secrets and
// working directory. Variables that e sets itself come before the machine's; a
// secret of such a name is not read.
func (g *guest) command(ctx context.Context, e backend.Exec) (backend.Exec, error) {
	plain, secret := splitEnv(g.p)
	for _, name := range slices.Sorted(maps.Keys(g.p.Secrets)) {
		_, given := e.Env[name]
		if _, too := e.SecretEnv[name]; given || too {
			continue
		}
		value, err := g.value(ctx, name)
		if err != nil {
			return e, err
		}
		secret[name] = value
	}
	for name := range e.Env {
		delete(secret, name)
	}
	for name := range e.SecretEnv {
		delete(plain, name)
	}
	maps.Copy(plain, e.Env)
	maps.Copy(secret, e.SecretEnv)
	e.Env, e.SecretEnv = plain, secret
	if e.Workdir == "" {
		e.Workdir = g.p.Workdir
	}
	return e, nil
}

// value returns the value of the secret of a variable, which is read once.
func (g *guest) value(ctx context.Context, variable string) (string, error) {
	if v, ok := g.secret[variable]; ok {
		return v, nil
	}
	v, err := g.w.secretValue(ctx, g.p.Secrets[variable])
	if err == nil {
		g.secret[variable] = v
	}
	return v, err
}

// prepare reads the secrets that setting up a machine needs, so that one that is
// missing is found before anything is done.
func (g *guest) prepare(ctx context.Context) error {
	if len(g.p.Provision) == 0 && len(g.p.Checks) == 0 && (g.p.Ready == nil || len(g.p.Ready.Exec) == 0) {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(g.p.Secrets)) {
		if _, err := g.value(ctx, name); err != nil {
			return fmt.Errorf("machine %s: %w", g.p.Name, err)
		}
	}
	return nil
}

// secretValue reads a secret for an environment: without the line break that
// files tend to end in.
func (w *Worker) secretValue(ctx context.Context, ref SecretRef) (string, error) {
	b, err := w.Secret(ctx, ref)
	if err == nil && bytes.IndexByte(b, 0) >= 0 {
		err = fmt.Errorf("its value has a NUL byte, which no environment variable can hold")
	}
	if err != nil {
		return "", fmt.Errorf("secret.%s: %w", ref.Name, err)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r"), nil
}

// succeed runs a command that has to end with 0. What it prints goes to log; the
// error quotes the last bytes of it, limit at most. Neither shows secrets.
func (g *guest) succeed(ctx context.Context, e backend.Exec, log io.Writer, limit int) error {
	e, err := g.command(ctx, e)
	if err != nil {
		return err
	}
	tail := &tailWriter{limit: limit}
	out := newRedactor(io.MultiWriter(log, tail), e.SecretEnv)
	e.Stdout, e.Stderr = out, out
	code, err := g.be.Exec(ctx, g.p.Name, e)
	out.Close()
	if b := tail.bytes(); len(b) > 0 && b[len(b)-1] != '\n' {
		fmt.Fprintln(log) // what comes next begins a line
	}
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d%s", code, indented("it printed", tail.bytes()))
	}
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w%s", context.Cause(ctx), indented("it printed", tail.bytes()))
	}
	return err
}

// retry is how long is waited before the first further attempt, and then twice
// as long each time, up to maxRetry.
const (
	firstRetry = 200 * time.Millisecond
	maxRetry   = 10 * time.Second
)

// attempts runs a command until it succeeds, once and then as often as retries,
// each time for no longer than timeout; 0 is no bound.
func (g *guest) attempts(ctx context.Context, e backend.Exec, timeout time.Duration, retries int, log io.Writer) error {
	wait := firstRetry
	for n := 1; ; n++ {
		err := g.bounded(ctx, e, timeout, log)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case n > retries && retries > 0:
			return fmt.Errorf("%d attempts, the last: %w", n, err)
		case n > retries:
			return err
		}
		fmt.Fprintf(log, "%q: %v\ntrying again, %d of %d\n", strings.Join(e.Args, " "), err, n, retries)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		wait = min(2*wait, maxRetry)
	}
}

func (g *guest) bounded(ctx context.Context, e backend.Exec, timeout time.Duration, log io.Writer) error {
	const quoted = 4 << 10 // bytes
	if timeout == 0 {
		return g.succeed(ctx, e, log, quoted)
	}
	limit, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("it did not end within %s", timeout))
	defer cancel()
	return g.succeed(limit, e, log, quoted)
}
