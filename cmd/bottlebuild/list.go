package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
)

// listJSON is what list --json prints.
type listJSON struct {
	Targets   []bottlefile.Declaration `json:"targets"`
	Variables []variableJSON           `json:"variables"`
}

type variableJSON struct {
	Name        string          `json:"name"`
	Type        string          `json:"type"`              // as written
	Default     json.RawMessage `json:"default,omitempty"` // left out if there is none, or it is sensitive
	Description string          `json:"description,omitempty"`
	Required    bool            `json:"required"`
	Sensitive   bool            `json:"sensitive"`
	Pos         string          `json:"pos"`
}

func newListCommand(a *app) *cobra.Command {
	var f fileFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list [FILE]",
		Short: "List the targets and variables of a bottle file",
		Long: `Lists what a bottle file declares: groups, images and bottles, which are targets
of run and plan, and variables, with their types, defaults and descriptions.
Variables need no values for that; without one, instances that depend on it are
not listed.`,
		Example: `  bottlebuild list
  bottlebuild list bottles.hcl --json`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file, diags, err := a.read(cmd.Context(), &f, args)
			if err != nil {
				return err
			}
			if err := a.diagnose(file, bottlefile.WithoutMissingValues(diags)); err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(listOf(file))
			}
			return printList(a.stdout, file)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return cmd
}

func listOf(file *bottlefile.File) listJSON {
	l := listJSON{Targets: file.Declarations(), Variables: []variableJSON{}}
	for _, v := range file.Variables() {
		l.Variables = append(l.Variables, variableJSON{
			Name: v.Name, Type: v.Type, Default: json.RawMessage(v.Default), Description: v.Description,
			Required: v.Required, Sensitive: v.Sensitive, Pos: v.Pos,
		})
	}
	return l
}

// maxDefault bounds, in characters, how much of a default the table shows.
const maxDefault = 60

func printList(w io.Writer, file *bottlefile.File) error {
	rows := [][]string{{"TARGET", "WHAT IT IS"}}
	for _, t := range file.Declarations() {
		rows = append(rows, []string{t.Address, whatIs(t)})
		for _, i := range t.Instances {
			rows = append(rows, []string{"  " + i, "instance"})
		}
	}
	if err := printTable(w, rows); err != nil {
		return err
	}
	vs := file.Variables()
	if len(vs) == 0 {
		return nil
	}
	rows = [][]string{{"\nVARIABLE", "TYPE", "DEFAULT", "DESCRIPTION"}}
	for _, v := range vs {
		def := v.Default
		if r := []rune(def); len(r) > maxDefault {
			def = string(r[:maxDefault]) + "…"
		}
		switch {
		case v.Required:
			def = "(required)"
		case v.Sensitive:
			def = "(sensitive)"
		}
		rows = append(rows, []string{v.Name, v.Type, def, v.Description})
	}
	return printTable(w, rows)
}

func whatIs(t bottlefile.Declaration) string {
	switch {
	case len(t.Members) > 0:
		return strings.Join(t.Members, ", ")
	case len(t.Stages) > 0:
		return strings.Join(t.Stages, ", ")
	case t.Kind == "bottle":
		return "no stages"
	case t.Kind == "group":
		return "nothing"
	}
	return t.Kind
}

// printTable aligns columns, and leaves no spaces at the ends of lines.
func printTable(w io.Writer, rows [][]string) error {
	var b strings.Builder
	tw := tabwriter.NewWriter(&b, 0, 8, 3, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}
