package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
)

// read loads the bottle file and returns what is wrong with it.
func (a *app) read(ctx context.Context, f *fileFlags, args []string) (*bottlefile.File, bottlefile.Diagnostics, error) {
	var diags bottlefile.Diagnostics
	quiet := *f
	quiet.faults = &diags
	file, rest, err := a.load(ctx, &quiet, args)
	if err == nil && len(rest) > 0 {
		if len(f.files) > 0 {
			return nil, nil, usageError("the bottle file is named with -f already, so %s would be a target, and this command takes none", rest[0])
		}
		return nil, nil, usageError("there is no bottle file %s; this command takes a bottle file and no targets", rest[0])
	}
	return file, diags, err
}

func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// validateJSON is what validate --json prints.
type validateJSON struct {
	FormatVersion string                        `json:"format_version"`
	Valid         bool                          `json:"valid"`
	ErrorCount    int                           `json:"error_count"`
	WarningCount  int                           `json:"warning_count"`
	NodeCount     int                           `json:"node_count"`
	Diagnostics   []bottlefile.DiagnosticReport `json:"diagnostics"`
}

func newValidateCommand(a *app) *cobra.Command {
	var f fileFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a bottle file without a builder, a network or a backend",
		Long: `Checks a bottle file; no builder, network or backend is contacted. With a fault
it leaves with exit code 3.

With --json it prints to standard output one object with format_version ("1"),
valid, error_count, warning_count, node_count (0 if not valid) and diagnostics, a
list of objects:

  severity   "error" or "warning"
  summary    what is wrong, in a few words
  detail     the cause, and what to do
  range      filename, start and end, each with line and column (counted from 1)
             and byte (from 0); left out if there is no place
  snippet    code, the lines that the range touches; start_line; context, the
             header of the block; highlight_start_offset and _end_offset, in
             bytes of code; left out if there is no source

A file that cannot be read is reported on standard error, with --json too.`,
		Example: `  bottlebuild validate
  bottlebuild validate bottles.hcl --var node=24
  bottlebuild validate --json | jq -r '.diagnostics[].summary'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, diags, err := a.read(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			nodes := 0
			if !diags.HasErrors() {
				ns, d := file.Nodes(nil)
				nodes, diags = len(ns), append(diags, d...)
				if !diags.HasErrors() {
					if err := a.checkLocked(cmd.Context(), file, ns); err != nil {
						return err
					}
				}
			}
			if asJSON {
				return a.printValidation(file, diags, nodes)
			}
			if err := a.diagnose(file, diags); err != nil {
				return err
			}
			count := fmt.Sprintf("%d nodes", nodes)
			if nodes == 1 {
				count = "1 node"
			}
			_, err = fmt.Fprintf(a.stdout, "The bottle file is valid: %s.\n", count)
			return err
		},
	}
	f.add(cmd)
	a.addLocked(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what is found as JSON")
	return cmd
}

func (a *app) printValidation(file *bottlefile.File, diags bottlefile.Diagnostics, nodes int) error {
	v := validateJSON{FormatVersion: "1", Valid: !diags.HasErrors(), NodeCount: nodes, Diagnostics: file.Report(diags)}
	for _, d := range v.Diagnostics {
		if d.Severity == "error" {
			v.ErrorCount++
		} else {
			v.WarningCount++
		}
	}
	if err := a.printJSON(v); err != nil {
		return err
	}
	if !v.Valid {
		return &exitError{code: exitUsage}
	}
	return nil
}
