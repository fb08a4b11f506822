package main

import (
	"fmt"

	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
)

// newDocsCommand makes docs/bottlefile.md.
func newDocsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "docs",
		Short:   "Print the reference of the bottle file's language, in Markdown",
		Example: "  go run ./cmd/bottlebuild docs > docs/bottlefile.md",
		Hidden:  true,
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, bottlefile.Reference())
			return err
		},
	}
}
