package smolvm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks/backend"
)

// Exec runs a command in a machine. The environment of image and machine is
// passed each time, since smolvm does not keep it; secrets go by reference to a
// variable of smolvm's own environment.
//
// smolvm has one number for its own failures, 1, which commands return too. An
// exit code of 1 after a line of smolvm's error form is taken for its own
// failure if the line says so beyond doubt, or if the machine turns out not to
// run; else it is the command's. What remains is a command that prints smolvm's
// own words and fails: it is reported as a failure of the backend.
func (b *Backend) Exec(ctx context.Context, name string, e backend.Exec) (int, error) {
	code, err := b.exec(ctx, name, e)
	if err != nil {
		return 0, fmt.Errorf("exec in machine %s: %w", name, err)
	}
	return code, nil
}

func (b *Backend) exec(ctx context.Context, name string, e backend.Exec) (int, error) {
	if err := checkExec(e); err != nil {
		return 0, err
	}
	p, err := b.program(ctx)
	if err != nil {
		return 0, err
	}
	r, err := b.known(ctx, name)
	if err != nil {
		return 0, err
	}
	as, err := b.runAs(ctx, r, e.User)
	if err != nil {
		return 0, err
	}
	return b.execAs(ctx, p, r, e, as)
}

func checkExec(e backend.Exec) error {
	if len(e.Args) == 0 {
		return errors.New("no command")
	}
	if e.Workdir != "" && !path.IsAbs(e.Workdir) {
		return fmt.Errorf("working directory %q is not absolute", e.Workdir)
	}
	if strings.HasPrefix(e.User, "-") || strings.ContainsAny(e.User, "\x00\n") {
		return fmt.Errorf("user %q", e.User)
	}
	for _, env := range []map[string]string{e.Env, e.SecretEnv} {
		for k, v := range env {
			if err := checkVariable(k, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Backend) execAs(ctx context.Context, p *program, r record, e backend.Exec, as identity) (int, error) {
	flags, err := b.flagsOf(ctx, "machine", "exec")
	if err != nil {
		return 0, err
	}
	args := []string{"machine", "exec", "--name", r.Name}
	args = append(args, as.flags...)
	if dir := e.Workdir; dir != "" {
		args = append(args, "-w", dir)
	} else if r.Workdir != "" {
		args = append(args, "-w", r.Workdir)
	}
	env := mergeEnv(r, as, e.Env)
	for k := range e.SecretEnv {
		delete(env, k)
	}
	for _, k := range slices.Sorted(maps.Keys(env)) {
		args = append(args, "-e", k+"="+env[k])
	}
	var hostEnv []string
	for i, k := range slices.Sorted(maps.Keys(e.SecretEnv)) {
		if !flags["--secret-env"] {
			return 0, fmt.Errorf("%w: this smolvm's \"machine exec\" has no --secret-env: update smolvm", backend.ErrUnsupported)
		}
		host := "BOTTLEBUILD_SECRET_" + strconv.Itoa(i)
		args = append(args, "--secret-env", k+"="+host)
		hostEnv = append(hostEnv, host+"="+e.SecretEnv[k])
	}
	if e.Stdin != nil {
		args = append(args, "-i")
	}
	if e.TTY {
		args = append(args, "-t")
	}
	// Without it, output is held back to the end and may not exceed 11 MiB.
	if flags["--stream"] && e.Stdin == nil && !e.TTY {
		args = append(args, "--stream")
	}
	args = append(append(append(args, "--"), as.prefix...), as.wrap(e.Args)...)
	code, stderr, err := b.run(ctx, p, command{
		args: args, env: hostEnv, stdin: e.Stdin, stdout: e.Stdout, stderr: e.Stderr, foreground: e.TTY, signals: e.Signals,
	})
	if err != nil {
		return 0, err
	}
	return b.judge(ctx, r.Name, code, stderr, e.TTY)
}

// mergeEnv returns the environment of a command: image, machine, user, command,
// the later over the earlier.
func mergeEnv(r record, as identity, env map[string]string) map[string]string {
	all := map[string]string{}
	for _, kv := range r.ImageEnv {
		if k, v, ok := strings.Cut(kv, "="); ok && checkVariable(k, v) == nil {
			all[k] = v
		}
	}
	maps.Copy(all, r.Env)
	if as.home != "" {
		all["HOME"] = as.home
	}
	maps.Copy(all, env)
	return all
}

// ownWords begin errors that smolvm has of itself.
var ownWords = lazyregexp.New(`^(?:Error: (?:agent operation failed|vm not found|invalid state|config|database|storage|kvm |machine )|error: (?:unexpected argument|invalid value|the argument|the following required))`)

// judge tells the command's exit code from smolvm's own failure.
func (b *Backend) judge(ctx context.Context, name string, code int, stderr string, tty bool) (int, error) {
	if code != 1 && code != 2 {
		return code, nil
	}
	line := errorLine(stderr)
	if line == "" {
		return code, nil
	}
	failure := &commandError{what: "machine exec", code: code, message: strings.TrimPrefix(line, "Error: ")}
	// On a terminal the command's own errors arrive on stdout.
	if tty && code == 1 || ownWords.MatchString(line) {
		if c, ok := spawnFailure(line); ok {
			return c, nil
		}
		return 0, failure
	}
	if code != 1 {
		return code, nil
	}
	st, err := b.status(ctx, name)
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err != nil || st.State != backend.Running:
		return 0, failure
	}
	return code, nil
}

// errorLine returns the last line of stderr that has the form of an error of
// smolvm's: with a capital by default, without while streaming.
func errorLine(stderr string) string {
	all := strings.Split(clean(stderr), "\n")
	for _, l := range slices.Backward(all) {
		if strings.HasPrefix(l, "Error: ") || strings.HasPrefix(l, "error: ") {
			return l
		}
	}
	return ""
}

// spawnFailure returns the exit code that shells have for a command that cannot
// be run, where smolvm reports that as an error of its own.
func spawnFailure(line string) (int, bool) {
	if !strings.Contains(line, "executable file") {
		return 0, false
	}
	if strings.Contains(strings.ToLower(line), "permission denied") {
		return 126, true
	}
	return 127, strings.Contains(line, "not found")
}
