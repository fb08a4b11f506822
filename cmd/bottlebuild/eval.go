package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newEvalCommand(a *app) *cobra.Command {
	var f fileFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "eval EXPRESSION",
		Short: "Show the value of an expression in a bottle file's scope",
		Long: `Evaluates an expression as if it stood in a local of the bottle file: with its
variables, locals, images, bottles, registries and all functions. Nothing runs:
outputs of nodes are shown as known after them, sensitive values not at all.

With --json it prints an object with type, value, known (false if parts are known
only after a run), needs (the nodes that they come from) and sensitive (true if
parts are not shown); value has null for what is not known or not shown. With a
fault it leaves with exit code 3.`,
		Example: `  bottlebuild eval 'local.egress'
  bottlebuild eval -f bottles.hcl --var node=24 'upper(var.node)'
  bottlebuild eval --json '[for k, b in bottle.agent : b.machine.name]'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, _, err := a.load(cmd.Context(), &f, nil)
			if err != nil {
				return err
			}
			value, shown, diags := file.Eval(args[0])
			if err := a.diagnose(shown, diags); err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(value)
			}
			_, err = fmt.Fprintln(a.stdout, value.Text)
			return err
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the value as JSON")
	return cmd
}
