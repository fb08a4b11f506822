package main

import (
	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
)

func newSchemaCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print a JSON schema of the bottle file's JSON syntax",
		Long: `Prints a JSON schema (draft 2020-12) of bottle files in HCL's JSON syntax, for
editors and for programs that write such files. It knows names and types; a file
that it accepts can still have faults that only validate finds.`,
		Example: "  bottlebuild schema > bottles.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			b, err := bottlefile.JSONSchema()
			if err != nil {
				return err
			}
			_, err = a.stdout.Write(b)
			return err
		},
	}
}
