package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"bottlebuild/tasks"
)

func newStopCommand(a *app) *cobra.Command {
	var f fileFlags
	cmd := &cobra.Command{
		Use:   "stop [FILE] [MACHINE...]",
		Short: "Stop machines; their disks stay",
		Long: `Stop stops machines, and prints the names of those that are stopped now; one that
was stopped already is no error. Their disks stay: start and run start them again.

` + machineArgs,
		Example: `  bottlebuild stop bottle-claude
  bottlebuild stop bottles.hcl`,
		ValidArgsFunction: a.completeMachines(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onMachines(cmd.Context(), &f, args, "stop", func(s *session, name string) error {
				return s.worker.Stop(cmd.Context(), name)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func newStartCommand(a *app) *cobra.Command {
	var f fileFlags
	cmd := &cobra.Command{
		Use:   "start [FILE] [MACHINE...]",
		Short: "Start machines that were stopped, or ended with the host",
		Long: `Start starts machines as they are, on the disks that they have, waits until they
are ready and runs their checks. It builds nothing and replaces nothing: that is
what run is for. A machine that runs already is no error.

` + machineArgs,
		Example: `  bottlebuild start bottle-claude
  bottlebuild start 'bottle-*'`,
		ValidArgsFunction: a.completeMachines(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onMachines(cmd.Context(), &f, args, "start", func(s *session, name string) error {
				return s.worker.Start(cmd.Context(), name, io.Discard)
			})
		},
	}
	f.add(cmd)
	return cmd
}

type downFlags struct {
	fileFlags
	all, orphans, volumes bool
}

func newDownCommand(a *app) *cobra.Command {
	var f downFlags
	cmd := &cobra.Command{
		Use:   "down [FILE] [MACHINE...]",
		Short: "Stop and remove machines with their disks",
		Long: `Down removes machines, and prints their names. It asks no question. Their disks
are lost; directories of the host that they share, volumes that have a name, packs
and images stay. --volumes removes volumes that have a name as well, also of
machines that are removed already.

` + machineArgs + `

Machines that the bottle file declares no more are orphans: with a bottle file,
they are left alone. --orphans removes them and no others: those of the bottle
file that is named, or else of bottles.hcl in the working directory if there is
one, and those of bottle files that are gone.`,
		Example: `  bottlebuild down bottle-claude 'test-*'
  bottlebuild down bottles.hcl
  bottlebuild down --orphans
  bottlebuild down --volumes bottles.hcl`,
		ValidArgsFunction: a.completeMachines(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.down(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.all, "all", false, "remove every machine that bottlebuild made on this host")
	cmd.Flags().BoolVar(&f.orphans, "orphans", false, "remove the machines that no bottle file declares any more")
	cmd.Flags().BoolVar(&f.volumes, "volumes", false, "remove what is kept for the machines in volumes that have a name")
	return cmd
}

func (a *app) down(ctx context.Context, f *downFlags, args []string) error {
	switch {
	case f.all && (len(args) > 0 || f.orphans || len(f.files) > 0):
		return usageError("down --all: it removes every machine, so name none beside it")
	case f.all, f.orphans, len(args) > 0, len(f.files) > 0:
	default:
		return usageError("down: name the machines to remove or their bottle file, or give --orphans or --all; see: bottlebuild ps")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if f.orphans && len(args) == 0 && len(f.files) == 0 {
		if _, err := os.Stat(defaultFile); err == nil {
			f.files = []string{defaultFile}
		}
	}
	var kept []string
	if f.volumes {
		if kept, err = s.worker.Volumes.Machines(); err != nil {
			return err
		}
	}
	c, err := s.choose(ctx, &f.fileFlags, args, kept...)
	if c == nil {
		return err
	}
	if f.orphans && c.file != nil && len(args) == 0 {
		// Those of files that are gone are nobody else's either.
		all, merr := s.worker.Machines(ctx)
		c.machines, err = all, errors.Join(err, merr)
	}
	c.machines = slices.DeleteFunc(c.machines, func(m tasks.MachineStatus) bool {
		if f.orphans {
			return c.orphan(m) == ""
		}
		return c.file != nil && c.orphan(m) != "" && !c.explicit
	})
	return errors.Join(err, s.each(c.machines, func(name string) error {
		err := s.named(ctx, name, s.worker.Down(ctx, name, f.volumes))
		if err == nil && s.worker.Volumes.Has(name) {
			fmt.Fprintf(s.stderr, "the volumes of %s stay; bottlebuild down --volumes %s removes them\n", name, name)
		}
		return err
	}))
}

// onMachines does something to each of the machines that args name.
func (a *app) onMachines(ctx context.Context, f *fileFlags, args []string, verb string, do func(*session, string) error) error {
	if len(args) == 0 && len(f.files) == 0 {
		return usageError("%s: name the machines, or their bottle file; see: bottlebuild ps", verb)
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	c, err := s.choose(ctx, f, args)
	if c == nil {
		return err
	}
	return errors.Join(err, s.each(c.machines, func(name string) error { return s.named(ctx, name, do(s, name)) }))
}
