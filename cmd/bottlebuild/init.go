package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
	"bottlebuild/hcl/importer"
)

func newInitCommand(a *app) *cobra.Command {
	var from []string
	var file string
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
inherited attributes of bake are kept readable, and ${NAME} of compose becomes a
variable; what has no counterpart stands in a comment, and is told as a warning.
--from can be repeated: files of one kind are put on top of each other, as those
tools do it, and as there an override file beside a single one (compose.override.yaml,
docker-bake.override.hcl) is read with it. The result is written beside the first.`,
		Example: `  bottlebuild init
  bottlebuild init --from docker-bake.hcl
  bottlebuild init --from compose.yaml --from compose.prod.yaml -o -`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := "."
			switch {
			case len(args) > 0 && len(from) > 0:
				return usageError("init takes a directory or --from, not both: the result of --from is written beside that file, or to -o FILE")
			case len(args) > 0:
				dir = args[0]
			case len(from) > 0:
				dir = filepath.Dir(from[0])
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
			if len(from) == 0 {
				if res, err = importer.Dockerfiles(dir); err != nil {
					return usageError("%w", err)
				}
			} else if res, err = a.importFrom(cmd.Context(), from); err != nil {
				return err
			}
			return a.writeStarter(path, res)
		},
	}
	cmd.Flags().StringArrayVar(&from, "from", nil, "take the targets of a bake `FILE`, or the services of a compose file; can be repeated")
	cmd.Flags().StringVarP(&file, "output", "o", "", "write to `FILE`, or - for standard output (default \""+defaultFile+"\" in the directory)")
	cmd.Flags().BoolVar(&force, "force", false, "overwrite a file that is there")
	return cmd
}

// importFrom translates files of another tool.
func (a *app) importFrom(ctx context.Context, paths []string) (importer.Result, error) {
	extra := override(paths)
	paths = append(slices.Clip(paths), extra...)
	var sources []bottlefile.Source
	for _, path := range paths {
		src, err := bottlefile.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return importer.Result{}, usageError("--from: there is no file %s", path)
		}
		if err != nil {
			return importer.Result{}, usageError("--from: %w", err)
		}
		sources = append(sources, bottlefile.Source{Path: path, Bytes: src})
	}
	dir, err := filepath.Abs(filepath.Dir(paths[0]))
	if err != nil {
		return importer.Result{}, err
	}
	var compose int
	for _, path := range paths {
		switch strings.ToLower(filepath.Ext(path)) {
		case ".yml", ".yaml":
			compose++
		case ".hcl", ".json":
		default:
			return importer.Result{}, usageError("--from %s: it is neither a bake file (.hcl, .json) nor a compose file (.yaml, .yml)", path)
		}
	}
	var res importer.Result
	switch compose {
	case len(paths):
		if res, err = importer.Compose(ctx, dir, sources...); err != nil {
			return res, usageError("--from: %w", err)
		}
	case 0:
		var shown *bottlefile.File
		var diags bottlefile.Diagnostics
		res, shown, diags = importer.Bake(dir, sources...)
		if err := a.diagnose(shown, diags); err != nil {
			return res, err
		}
	default:
		return res, usageError("--from: bake files and compose files cannot be read as one; run init for each kind, with -o FILE")
	}
	for _, path := range extra {
		res.Warnings = append(res.Warnings, path+": it is read as well, as that tool does it if no file is named")
	}
	return res, nil
}

// override returns the override files that bake and compose read with a file of a
// usual name if none is named.
func override(paths []string) []string {
	if len(paths) != 1 {
		return nil
	}
	dir, base := filepath.Split(paths[0])
	var candidates []string
	most := 1
	switch base {
	case "docker-bake.hcl", "docker-bake.json":
		candidates, most = []string{"docker-bake.override.json", "docker-bake.override.hcl"}, 2
	case "compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml":
		candidates = []string{"compose.override.yml", "compose.override.yaml", "docker-compose.override.yml", "docker-compose.override.yaml"}
	}
	var found []string
	for _, name := range candidates {
		if _, err := os.Stat(dir + name); err == nil && len(found) < most {
			found = append(found, dir+name)
		}
	}
	return found
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
