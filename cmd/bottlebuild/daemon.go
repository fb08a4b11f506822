package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"bottlebuild/tasks/buildkit"
)

// daemonCommand is the hidden command that is the embedded BuildKit.
const daemonCommand = "buildkitd"

func newDaemonCommand(a *app) *cobra.Command {
	var cfg buildkit.DaemonConfig
	cmd := &cobra.Command{
		Use:    daemonCommand,
		Short:  "Serve the embedded BuildKit; run starts it by itself",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Root == "" || cfg.Socket == "" {
				return usageError("%s needs --root and --socket", daemonCommand)
			}
			fmt.Fprintf(a.stderr, "%s serving on %s\n", time.Now().UTC().Format(time.RFC3339), cfg.Socket)
			return buildkit.Serve(cmd.Context(), cfg)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Root, "root", "", "directory of the daemon's state")
	f.StringVar(&cfg.Socket, "socket", "", "path of the Unix socket")
	f.DurationVar(&cfg.Idle, "idle", 0, "leave after this time without a request; 0 stays")
	return cmd
}
