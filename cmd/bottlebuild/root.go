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
			return unknownCommand(cmd, args[0])
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
		newRunCommand(a), newPlanCommand(a), newWarmCommand(a), newLockCommand(a), newWhyCommand(a), newRunsCommand(a), newGraphCommand(a), newValidateCommand(a),
		newPsCommand(a), newExecCommand(a), newShellCommand(a), newLogsCommand(a), newCpCommand(a), newInspectCommand(a),
		newStartCommand(a), newStopCommand(a), newDownCommand(a),
		newDoctorCommand(a), newCacheCommand(a), newInitCommand(a), newListCommand(a), newEvalCommand(a), newFmtCommand(a), newSchemaCommand(a), newVersionCommand(a), newDocsCommand(a), newDaemonCommand(a),
	)
	root.SetHelpCommand(newHelpCommand())
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
		c.Args = usageArgs(c.Args)
	}
	return root
}

// unknownCommand is the error of a command that cmd does not have.
func unknownCommand(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("there is no command %q", name)
	if s := cmd.SuggestionsFor(name); len(s) > 0 {
		text += fmt.Sprintf("; did you mean %q?", s[0])
	}
	return usageError("%s\nSee: %s --help", text, cmd.CommandPath())
}

// newHelpCommand is cobra's, but for commands that are not there: those are an
// error of usage.
func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if at, _, err := cmd.Root().Find(args); err == nil {
				for _, c := range at.Commands() {
					if c.IsAvailableCommand() {
						names = append(names, cobra.CompletionWithDesc(c.Name(), c.Short))
					}
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if at == nil {
				at = cmd.Root()
			}
			if err != nil && len(rest) == 0 {
				rest = args
			}
			if len(rest) > 0 {
				return unknownCommand(at, rest[0])
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
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
