package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bottlebuild/tasks/backend"
)

type execFlags struct {
	user, workdir    string
	env              []string
	tty, interactive bool
	noSecrets        bool
	ttySet           bool // on the command line
}

func (f *execFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SetInterspersed(false)
	fl.StringVarP(&f.user, "user", "u", "", "user to run as, with \":group\" if wanted (default: the machine's)")
	fl.StringVarP(&f.workdir, "workdir", "w", "", "working directory (default: the machine's)")
	textsFlag(cmd, &f.env, "env", "e", "set an environment variable, as `NAME=VALUE`, or pass on this one's, as NAME, which keeps its value out of every argument list; repeatable")
	fl.BoolVarP(&f.tty, "tty", "t", false, "give the command a terminal; the default where standard input and output are one")
	fl.BoolVarP(&f.interactive, "interactive", "i", true, "pass standard input on")
	fl.BoolVar(&f.noSecrets, "no-secrets", false, "leave out the machine's secrets")
}

func newExecCommand(a *app) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "exec [FLAGS] MACHINE [--] COMMAND [ARG...]",
		Short: "Run a command in a machine and leave with its exit code",
		Long: `Exec runs a command in a machine that runs: with the environment that its bottle
file gives it, with its secrets, whose values are read again for it, as its user
and in its working directory.

Standard input is passed on; -i=false leaves it alone, for loops that read from
it. SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to the
command; the third SIGINT or SIGTERM ends it in any case.

Exec leaves with the exit code of the command: as with shells, 127 if there is no
such command, 126 if it cannot be run, 128 and the number of a signal that ended
it. A failure of bottlebuild's own begins with "bottlebuild:" on standard error,
and has one of the exit codes of run: 3 if there is no such machine.`,
		Example: `  bottlebuild exec bottle-claude -- id
  bottlebuild exec --user root bottle-claude apt-get update
  tar -c src | bottlebuild exec bottle-claude -- tar -x -C /workspace
  bottlebuild exec -e GITHUB_TOKEN bottle-claude -- git push`,
		Args:              cobra.MinimumNArgs(2),
		ValidArgsFunction: a.completeMachines(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.ttySet = cmd.Flags().Changed("tty")
			command := args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return usageError("exec: there is no command after --")
			}
			return a.exec(cmd.Context(), args[0], &f, command)
		},
	}
	f.add(cmd)
	return cmd
}

// shells are tried in a machine, by its own sh, which is one of them if nothing
// else.
const shells = `for s in bash zsh ash; do if command -v "$s" >/dev/null 2>&1; then exec "$s" -l; fi; done; exec sh -l`

func newShellCommand(a *app) *cobra.Command {
	var f execFlags
	cmd := &cobra.Command{
		Use:   "shell [FLAGS] MACHINE [--] [SHELL [ARG...]]",
		Short: "Open a shell in a machine",
		Long: `Shell opens a login shell in a machine that runs: the one that is named, or the
first of bash, zsh, ash and sh that the machine has. It is otherwise like exec.`,
		Example: `  bottlebuild shell bottle-claude
  bottlebuild shell --user root bottle-claude -- /bin/dash`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeMachines(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.ttySet = cmd.Flags().Changed("tty")
			command := args[1:]
			if len(command) > 0 && command[0] == "--" {
				command = command[1:]
			}
			own := len(command) == 0
			if own {
				command = []string{"/bin/sh", "-c", shells}
			}
			err := a.exec(cmd.Context(), args[0], &f, command)
			var exit *exitError
			if own && errors.As(err, &exit) && exit.err == nil && exit.code == 127 {
				fmt.Fprintf(a.stderr, "bottlebuild: if this machine has no shell, see what it has with: bottlebuild cp %s:/bin - | tar -t\n", args[0])
			}
			return err
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) exec(ctx context.Context, name string, f *execFlags, command []string) error {
	e := backend.Exec{Args: command, User: f.user, Workdir: f.workdir, Env: map[string]string{}, SecretEnv: map[string]string{}, Stdout: a.stdout, Stderr: a.stderr}
	for _, kv := range f.env {
		switch key, value, ok := strings.Cut(kv, "="); {
		case key == "":
			return usageError("--env %q: write it as NAME=VALUE, or as NAME", kv)
		case ok:
			e.Env[key] = value
		default:
			if value, ok = a.lookup(key); !ok {
				return usageError("--env %s: there is no such variable here; write it as NAME=VALUE", key)
			}
			e.SecretEnv[key] = value
		}
	}
	if f.interactive {
		e.Stdin = a.stdin
	}
	onTerminal := term.IsTerminal(int(a.stdin.Fd()))
	e.TTY = f.tty
	if !f.ttySet {
		e.TTY = f.interactive && onTerminal && term.IsTerminal(int(a.stdout.Fd()))
	}
	if f.tty && (!f.interactive || !onTerminal) {
		return usageError("--tty needs a terminal on standard input")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if e.TTY {
		if _, given := e.Env["TERM"]; !given && a.env("TERM") != "" {
			e.Env["TERM"] = a.env("TERM")
		}
		old, err := term.MakeRaw(int(a.stdin.Fd()))
		if err != nil {
			return fmt.Errorf("set up the terminal: %w", err)
		}
		defer term.Restore(int(a.stdin.Fd()), old)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	signals := make(chan os.Signal, 16)
	e.Signals = signals
	defer a.signals.take(passOn(signals, cancel))()
	code, err := s.worker.ExecIn(ctx, name, e, f.noSecrets)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return &exitError{exitInterrupted, errInterrupted}
	}
	if err != nil {
		return s.named(ctx, name, err)
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}
