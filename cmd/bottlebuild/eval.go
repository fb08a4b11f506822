package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
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
fault it leaves with exit code 3.

With - in place of an expression it reads one from each line of standard input; a
faulty one is told, and the others are evaluated nevertheless.`,
		Example: `  bottlebuild eval 'local.egress'
  bottlebuild eval -f bottles.hcl --var node=24 'upper(var.node)'
  bottlebuild eval -                    an expression a line, until the end of input
  bottlebuild eval --json '[for k, b in bottle.agent : b.machine.name]'`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, _, err := a.load(cmd.Context(), &f, nil)
			if err != nil {
				return err
			}
			if args[0] == stdinName {
				return a.evalLines(cmd.Context(), file, asJSON)
			}
			return a.eval(cmd.Context(), file, args[0], asJSON)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the value as JSON")
	return cmd
}

// eval prints the value of an expression.
func (a *app) eval(ctx context.Context, file *bottlefile.File, expression string, asJSON bool) error {
	type evaluated struct {
		value bottlefile.Evaluation
		loading
	}
	e, err := unlessInterrupted(ctx, func() evaluated {
		value, shown, diags := file.Eval(expression)
		return evaluated{value, loading{shown, diags}}
	})
	if err != nil {
		return err
	}
	if err := a.diagnose(e.file, e.diags); err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(e.value)
	}
	_, err = fmt.Fprintln(a.stdout, e.value.Text)
	return err
}

// evalLines evaluates the lines of standard input, as they come.
func (a *app) evalLines(ctx context.Context, file *bottlefile.File, asJSON bool) error {
	lines := bufio.NewScanner(a.stdin)
	lines.Buffer(nil, bottlefile.MaxFileSize)
	var faulty error
	before := ""
	for ; lines.Scan(); before += "\n" { // so that faults have the number of their line
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		var told *exitError
		if err := a.eval(ctx, file, before+lines.Text(), asJSON); errors.As(err, &told) {
			faulty = err
		} else if err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return usageError("read expressions from standard input: %w", err)
	}
	return faulty
}
