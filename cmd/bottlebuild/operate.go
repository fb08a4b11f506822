package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bottlebuild/tasks"
	"bottlebuild/tasks/backend"
)

// machineJSON is a machine in ps --json.
type machineJSON struct {
	Name      string        `json:"name"`
	State     backend.State `json:"state"`
	Backend   string        `json:"backend"`
	Address   string        `json:"address"`
	Project   string        `json:"project"`
	Spec      string        `json:"spec"`
	Pack      string        `json:"pack"`
	CreatedAt time.Time     `json:"created_at"`
	CPUs      int           `json:"cpus,omitempty"`
	MemoryMiB int           `json:"memory_mib,omitempty"`
	PID       int           `json:"pid,omitempty"`
}

func newPsCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the machines that bottlebuild made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.open()
			if err != nil {
				return err
			}
			defer s.close()
			machines, err := s.worker.Machines(cmd.Context())
			if perr := a.printMachines(machines, asJSON); perr != nil {
				return perr
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the machines as JSON")
	return cmd
}

func (a *app) printMachines(machines []tasks.MachineStatus, asJSON bool) error {
	if asJSON {
		list := []machineJSON{}
		for _, m := range machines {
			list = append(list, machineJSON{
				Name: m.Name, State: m.State, Backend: m.Backend, Address: m.Labels[backend.AddressLabel],
				Project: m.Labels[backend.ProjectLabel], Spec: m.Labels[backend.SpecLabel], Pack: m.Labels[backend.PackLabel],
				CreatedAt: m.CreatedAt, CPUs: m.CPUs, MemoryMiB: m.MemoryMiB, PID: m.PID,
			})
		}
		e := json.NewEncoder(a.stdout)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(list)
	}
	tw := tabwriter.NewWriter(a.stdout, 0, 8, 3, ' ', 0)
	fmt.Fprintln(tw, "NAME\tSTATE\tBACKEND\tCREATED\tDECLARED AS\tIN")
	for _, m := range machines {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s ago\t%s\t%s\n", m.Name, m.State, m.Backend,
			units.HumanDuration(time.Since(m.CreatedAt)), m.Labels[backend.AddressLabel], shorten(m.Labels[backend.ProjectLabel]))
	}
	return tw.Flush()
}

// shorten gives a path relative to the working directory where that is shorter.
func shorten(path string) string {
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(wd, path); err == nil && len(rel) < len(path) {
		return rel
	}
	return path
}

func newExecCommand(a *app) *cobra.Command {
	var e backend.Exec
	var env []string
	var interactive bool
	cmd := &cobra.Command{
		Use:   "exec MACHINE -- COMMAND [ARG...]",
		Short: "Run a command in a machine and leave with its exit code",
		Example: `  bottlebuild exec bottle-claude -- id
  bottlebuild exec -t --user root bottle-claude -- /bin/sh`,
		Args: cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			e.Env = map[string]string{}
			for _, kv := range env {
				name, value, ok := strings.Cut(kv, "=")
				if !ok || name == "" {
					return usageError("--env %q: write it as NAME=VALUE", kv)
				}
				e.Env[name] = value
			}
			command := args[1:]
			if command[0] == "--" {
				command = command[1:]
			}
			if len(command) == 0 {
				return usageError("exec: there is no command after --")
			}
			e.Args, e.Stdout, e.Stderr = command, a.stdout, a.stderr
			if interactive || e.TTY || !term.IsTerminal(int(a.stdin.Fd())) {
				e.Stdin = a.stdin
			}
			return a.exec(cmd.Context(), args[0], e)
		},
	}
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVarP(&e.User, "user", "u", "", "user to run as, with \":group\" if wanted (default: the machine's)")
	f.StringVarP(&e.Workdir, "workdir", "w", "", "working directory (default: the machine's)")
	f.StringArrayVarP(&env, "env", "e", nil, "set an environment variable, as `NAME=VALUE`; repeatable")
	f.BoolVarP(&e.TTY, "tty", "t", false, "give the command a terminal")
	f.BoolVarP(&interactive, "interactive", "i", false, "pass standard input on; the default where it is not a terminal")
	return cmd
}

func (a *app) exec(ctx context.Context, name string, e backend.Exec) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if e.TTY {
		if !term.IsTerminal(int(a.stdin.Fd())) {
			return usageError("--tty needs a terminal on standard input")
		}
		old, err := term.MakeRaw(int(a.stdin.Fd()))
		if err != nil {
			return fmt.Errorf("set up the terminal: %w", err)
		}
		defer term.Restore(int(a.stdin.Fd()), old)
	}
	code, err := s.worker.ExecIn(ctx, name, e)
	if errors.Is(err, backend.ErrNotFound) {
		return usageError("there is no machine %s; see: bottlebuild ps", name)
	}
	if err != nil {
		return err
	}
	if code != 0 {
		return &exitError{code: code}
	}
	return nil
}

func newStopCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "stop MACHINE...",
		Short: "Stop machines; their disks stay, and run starts them again",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.each(cmd.Context(), args, (*tasks.Worker).Stop)
		},
	}
}

func newDownCommand(a *app) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "down [MACHINE...]",
		Short: "Stop and remove machines with their disks",
		Long: `Down removes the named machines, or with --all every machine that bottlebuild
made on this host. Their disks are lost; packs and images stay in the cache.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return usageError("down: name the machines to remove, or give --all; see: bottlebuild ps")
			}
			if all {
				var err error
				if args, err = a.machineNames(cmd.Context()); err != nil {
					return err
				}
			}
			return a.each(cmd.Context(), args, (*tasks.Worker).Down)
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove every machine that bottlebuild made")
	return cmd
}

func (a *app) machineNames(ctx context.Context) ([]string, error) {
	s, err := a.open()
	if err != nil {
		return nil, err
	}
	defer s.close()
	machines, err := s.worker.Machines(ctx)
	var names []string
	for _, m := range machines {
		names = append(names, m.Name)
	}
	return names, err
}

// each does something to each machine named, and prints the names it was done to.
func (a *app) each(ctx context.Context, names []string, do func(*tasks.Worker, context.Context, string) error) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	var errs []error
	for _, name := range names {
		if err := do(s.worker, ctx, name); err != nil {
			if errors.Is(err, backend.ErrNotFound) {
				err = usageError("there is no machine %s; see: bottlebuild ps", name)
			}
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(a.stdout, name)
	}
	return errors.Join(errs...)
}
