package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"bottlebuild/tasks/buildkit"
)

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "bottlebuild",
		Short: "From Dockerfiles to booted machines, as one cached graph",
		Long: `bottlebuild reads a bottle file, builds its images with BuildKit, exports and
pushes them, packs them and boots machines from the packs. Everything is cached
by what it was made from: what has not changed does not run again.`,
		Example: `  bottlebuild plan bottles.hcl         what would run, and why
  bottlebuild run bottles.hcl          run it
  bottlebuild ps                       the machines there are
  bottlebuild exec web -- /bin/sh      a command in one of them`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			text := fmt.Sprintf("there is no command %q", args[0])
			if s := cmd.SuggestionsFor(args[0]); len(s) > 0 {
				text += fmt.Sprintf("; did you mean %q?", s[0])
			}
			return usageError("%s\nSee: bottlebuild --help", text)
		},
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
		CompletionOptions:          cobra.CompletionOptions{HiddenDefaultCmd: false},
		Version:                    version(),
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("bottlebuild {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError("%w\nSee: %s --help", err, cmd.CommandPath())
	})
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	f := root.PersistentFlags()
	f.StringVar(&a.builder, "builder", "", "address of a BuildKit daemon: unix://, tcp://, ssh://, docker-container://, kube-pod://")
	f.StringVar(&a.builderTLS.CACert, "builder-tls-ca", "", "file with the certificate authority of the builder")
	f.StringVar(&a.builderTLS.Cert, "builder-tls-cert", "", "file with the client certificate for the builder")
	f.StringVar(&a.builderTLS.Key, "builder-tls-key", "", "file with the client key for the builder")
	root.AddCommand(
		newRunCommand(a), newPlanCommand(a), newWhyCommand(a), newRunsCommand(a), newGraphCommand(a), newValidateCommand(a),
		newPsCommand(a), newExecCommand(a), newStopCommand(a), newDownCommand(a),
		newListCommand(a), newEvalCommand(a), newFmtCommand(a), newSchemaCommand(a), newVersionCommand(a), newDocsCommand(a), newDaemonCommand(a),
	)
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
		c.Args = usageArgs(c.Args)
	}
	return root
}

// usageArgs makes a wrong number of arguments an error of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if check == nil {
			return nil
		}
		if err := check(cmd, args); err != nil {
			return usageError("%w\nSee: %s --help", err, cmd.CommandPath())
		}
		return nil
	}
}

func newVersionCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the versions of bottlebuild and of the BuildKit in it",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "bottlebuild %s\nbuildkit %s\n%s %s/%s\n",
				version(), buildkit.Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
