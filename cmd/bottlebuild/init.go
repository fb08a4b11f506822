package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
	"bottlebuild/hcl/importer"
)

func newInitCommand(a *app) *cobra.Command {
	var from, file string
	var force bool
	cmd := &cobra.Command{
		Use:   "init [DIRECTORY]",
		Short: "Write a bottle file to start from",
		Long: `Writes ` + defaultFile + ` into the directory, the working directory if none is named: an
image and a bottle for each Dockerfile in it and up to three levels below, with
what it says of itself (exposed ports, stages, arguments, secrets), and comments on
what else there is. A file that is there already is left alone without --force.

With --from the targets of a file of docker buildx bake (docker-bake.hcl, .json), or
the services of a compose file, become images and bottles. Variables, matrices and
inherited attributes of bake are kept readable; what has no counterpart stands in a
comment, and is told as a warning. The result is written beside that file.`,
		Example: `  bottlebuild init
  bottlebuild init --from docker-bake.hcl
  bottlebuild init --from compose.yaml -o -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			switch {
			case len(args) > 0 && from != "":
				return usageError("init takes a directory or --from, not both: the result of --from is written beside that file, or to -o FILE")
			case len(args) > 0:
				dir = args[0]
			case from != "":
				dir = filepath.Dir(from)
			}
			path := file
			if path == "" {
				path = filepath.Join(dir, defaultFile)
			}
			if _, err := os.Lstat(path); err == nil && !force && path != stdinName {
				return usageError("%s is there already; overwrite it with --force, or name another with -o FILE", path)
			}
			var res importer.Result
			var err error
			if from == "" {
				if res, err = importer.Dockerfiles(dir); err != nil {
					return usageError("%w", err)
				}
			} else if res, err = a.importFrom(cmd.Context(), from); err != nil {
				return err
			}
			return a.writeStarter(path, res)
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "take the targets of a bake `FILE`, or the services of a compose file")
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE`, or - for standard output (default \""+defaultFile+"\" in the directory)")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite a file that is there")
	return cmd
}

// importFrom translates a file of another tool.
func (a *app) importFrom(ctx context.Context, path string) (importer.Result, error) {
	src, err := bottlefile.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return importer.Result{}, usageError("--from: there is no file %s", path)
	}
	if err != nil {
		return importer.Result{}, usageError("--from: %w", err)
	}
	switch ext := strings.ToLower(filepath.Ext(path)); ext {
	case ".yml", ".yaml":
		dir, err := filepath.Abs(filepath.Dir(path))
		if err != nil {
			return importer.Result{}, err
		}
		res, err := importer.Compose(ctx, path, src, dir)
		if err != nil {
			return res, usageError("--from: %w", err)
		}
		return res, nil
	case ".hcl", ".json":
		res, shown, diags := importer.Bake(path, src)
		return res, a.diagnose(shown, diags)
	default:
		return importer.Result{}, usageError("--from %s: it is neither a bake file (.hcl, .json) nor a compose file (.yaml, .yml)", path)
	}
}

// writeStarter writes what init has made, and says what it lacks.
func (a *app) writeStarter(path string, res importer.Result) error {
	for _, w := range res.Warnings {
		fmt.Fprintln(a.stderr, "warning:", w)
	}
	if path == stdinName {
		_, err := a.stdout.Write(res.Source)
		return err
	}
	if err := renameio.WriteFile(path, res.Source, 0o644); err != nil {
		return fmt.Errorf("write bottle file: %w", err)
	}
	_, err := fmt.Fprintf(a.stdout, "Wrote %s. Next: bottlebuild validate %s\n", path, path)
	return err
}
