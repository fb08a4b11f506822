package tasks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
)

const (
	gitWait = time.Minute
	// maxAnswer bounds what is taken of git's answers, in bytes.
	maxAnswer = maxDockerfile + 1
)

// resolveGit returns the commit that "URL#REF" stands for, or "URL" with the
// default branch, as the git command finds it: with the user's own credentials,
// and never with a question to the user.
func (w *Worker) resolveGit(ctx context.Context, name string) (string, error) {
	remote, ref, _ := strings.Cut(name, "#")
	if ref == "" {
		ref = "HEAD"
	}
	out, err := w.git(ctx, "", "ls-remote", "--", remote, ref, ref+"^{}")
	if err != nil {
		return "", err
	}
	commit := pickRef(string(out), ref)
	if commit == "" {
		return "", fmt.Errorf("there is no ref %q", ref)
	}
	return commit, nil
}

// gitError is what git said when it failed.
type gitError struct {
	command, text string
	err           error
}

func (e *gitError) Error() string { return fmt.Sprintf("git %s: %v: %s", e.command, e.err, e.text) }

func (e *gitError) Unwrap() []error { return []error{e.err, registry.ErrUnavailable} }

// git runs git in dir and returns what it prints.
func (w *Worker) git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, gitWait, fmt.Errorf("git did not answer within %s", gitWait))
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	cmd.Env = append(w.Env[:len(w.Env):len(w.Env)], "GIT_TERMINAL_PROMPT=0", "GIT_SSH_COMMAND=ssh -o BatchMode=yes", "LC_ALL=C")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &bounded{&stdout, maxAnswer}, &bounded{&stderr, maxAnswer}
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("git is not installed, which finds out what Git refs stand for; install it")
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, &gitError{args[0], strings.TrimSpace(stderr.String()), err}
}

// pickRef finds a ref among the lines "COMMIT\tREF" of git ls-remote by the rules
// of BuildKit, which are those of git checkout: branches go before tags.
func pickRef(lines, ref string) string {
	found := map[string]string{}
	for line := range strings.Lines(lines) {
		commit, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		found[name] = commit
	}
	tag := "refs/tags/" + strings.TrimPrefix(ref, "refs/tags/")
	for _, name := range []string{
		"refs/" + strings.TrimPrefix(ref, "refs/") + "^{}", "refs/" + strings.TrimPrefix(ref, "refs/"),
		"refs/heads/" + strings.TrimPrefix(ref, "refs/heads/"), tag + "^{}", tag,
	} {
		if c := found[name]; c != "" {
			return c
		}
	}
	if ref == "HEAD" {
		return found[ref]
	}
	return ""
}

// bounded drops what is written beyond a number of bytes.
type bounded struct {
	w    io.Writer
	left int
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	if _, err := b.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

// gitName is what a Git source is pinned by: its URL and ref, without a directory.
func gitName(r buildkit.Remote) string {
	repository, fragment, _ := strings.Cut(r.URL, "#")
	if ref, _, _ := strings.Cut(fragment, ":"); ref != "" {
		return repository + "#" + ref
	}
	return repository
}
