package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
)

// formatter is one call of fmt.
type formatter struct {
	*app
	check, diff bool
	unformatted bool // some file is not in canonical form
	faulty      bool // some file has a syntax error; it has been told
}

func newFmtCommand(a *app) *cobra.Command {
	f := formatter{app: a}
	cmd := &cobra.Command{
		Use:   "fmt [FILE|DIRECTORY|-]...",
		Short: "Bring bottle files into their canonical form",
		Long: `Rewrites HCL files in the canonical form, and prints the names of those that
change. A directory stands for the files *.hcl in it, not below it, without those
whose names start with a dot or with docker-bake; without arguments that of the
working directory is taken. With - standard input is formatted to standard output.

A file is replaced in one step and keeps its mode; one with a syntax error is left
alone, and makes fmt leave with exit code 3.

  --check  writes nothing, and leaves with exit code 1 if a file would change
  --diff   writes nothing, and prints the changes`,
		Example: `  bottlebuild fmt
  bottlebuild fmt --check --diff .
  bottlebuild fmt - < bottles.hcl`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"."}
			}
			for _, arg := range args {
				if err := f.argument(arg); err != nil {
					return err
				}
			}
			switch {
			case f.faulty:
				return &exitError{code: exitUsage}
			case f.check && f.unformatted:
				return &exitError{code: exitFailed}
			}
			return nil
		},
	}
	cmd.Args = cobra.ArbitraryArgs
	cmd.Flags().BoolVar(&f.check, "check", false, "write nothing; exit code 1 if a file would change")
	cmd.Flags().BoolVar(&f.diff, "diff", false, "write nothing; print the changes")
	return cmd
}

func (f *formatter) argument(arg string) error {
	if arg == "-" {
		src, err := bottlefile.Read(f.stdin)
		if err != nil {
			return usageError("read standard input: %w", err)
		}
		return f.source("<stdin>", src, func(formatted []byte) error {
			_, err := f.stdout.Write(formatted)
			return err
		})
	}
	fi, err := os.Stat(arg)
	switch {
	case err != nil:
		return usageError("%w", err)
	case !fi.IsDir():
		return f.file(arg)
	}
	entries, err := os.ReadDir(arg)
	if err != nil {
		return usageError("%w", err)
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".hcl") && !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "docker-bake") && !e.IsDir() {
			if err := f.file(filepath.Join(arg, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *formatter) file(path string) error {
	if strings.HasSuffix(path, ".json") {
		return usageError("%s is JSON: fmt formats HCL only", path)
	}
	src, err := bottlefile.ReadFile(path)
	if err != nil {
		return usageError("%w", err)
	}
	return f.source(path, src, func(formatted []byte) error {
		if bytes.Equal(src, formatted) {
			return nil
		}
		return errors.Join(f.replace(path, formatted), f.tell(path))
	})
}

// source formats one source and lets write have the result, if anything is to be
// written.
func (f *formatter) source(name string, src []byte, write func([]byte) error) error {
	formatted, file, diags := bottlefile.Format(name, src)
	if diags.HasErrors() {
		f.faulty = true
		if err := f.diagnose(file, diags); classify(err, exitFailed) != exitUsage {
			return err
		}
		return nil
	}
	changed := !slices.Equal(src, formatted)
	f.unformatted = f.unformatted || changed
	if f.diff && changed {
		if _, err := f.stdout.Write(diff.Diff(name, src, name+" (formatted)", formatted)); err != nil {
			return err
		}
	}
	switch {
	case f.check && changed && !f.diff:
		return f.tell(name)
	case f.check || f.diff:
		return nil
	}
	return write(formatted)
}

func (f *formatter) tell(name string) error {
	_, err := fmt.Fprintln(f.stdout, name)
	return err
}

// replace writes a file in one step. It follows a symbolic link, and keeps the
// file's permissions.
func (f *formatter) replace(path string, content []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(real, content, 0o644, renameio.WithExistingPermissions()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}
