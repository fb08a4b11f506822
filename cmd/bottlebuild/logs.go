package main

import (
	"context"

	"github.com/spf13/cobra"

	"bottlebuild/tasks"
)

func newLogsCommand(a *app) *cobra.Command {
	o := tasks.LogOptions{Lines: -1}
	cmd := &cobra.Command{
		Use:   "logs MACHINE",
		Short: "Print a machine's console",
		Long: `Logs prints what the image's own command has written, and what the machine says
of itself. Commands that exec runs write to whoever runs them, not here. The
console stays when the machine stops, and goes with the machine.`,
		Example: `  bottlebuild logs bottle-claude
  bottlebuild logs -f -n 20 bottle-claude`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeMachines(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.Lines < 0 && cmd.Flags().Changed("tail") {
				return usageError("--tail %d: it cannot be negative", o.Lines)
			}
			return a.logs(cmd.Context(), args[0], o)
		},
	}
	fl := cmd.Flags()
	fl.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is added, through stops and starts, until the machine is removed")
	fl.IntVarP(&o.Lines, "tail", "n", -1, "print only the last `LINES` (default all)")
	fl.BoolVar(&o.SinceStart, "since-start", false, "print only what came since the machine started last; smolvm does not note that")
	return cmd
}

func (a *app) logs(ctx context.Context, name string, o tasks.LogOptions) error {
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.worker.Logs(ctx, name, o, a.stdout); err != nil {
		return s.named(ctx, name, err)
	}
	return context.Cause(ctx)
}
