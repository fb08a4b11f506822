package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
)

// defaultFile is the bottle file when none is named.
const defaultFile = "bottles.hcl"

// varPrefix is what starts the name of an environment variable that gives a
// variable its value.
const varPrefix = "BOTTLE_VAR_"

// fileFlags are the flags of commands that read a bottle file.
type fileFlags struct {
	file string
	vars []string
	// faults, if not nil, takes what is wrong with the file, which is then not
	// printed and no error of load.
	faults *bottlefile.Diagnostics
}

func (f *fileFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "the bottle file, or a directory with a "+defaultFile+" (default \""+defaultFile+"\")")
	cmd.Flags().StringArrayVar(&f.vars, "var", nil, "give a variable a value, as `NAME=VALUE`; repeatable")
}

// load reads the bottle file and returns it with the targets among args: a
// first argument that is a file or a directory is the bottle file. Faults in
// the file are printed, each with its place.
func (a *app) load(ctx context.Context, f *fileFlags, args []string) (*bottlefile.File, []string, error) {
	path, targets, err := f.locate(args)
	if err != nil {
		return nil, nil, err
	}
	src, err := bottlefile.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, usageError("there is no bottle file %s: name one as the first argument, or make it", path)
	}
	if err != nil {
		return nil, nil, usageError("%w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, nil, err
	}
	vars, err := a.variables(f)
	if err != nil {
		return nil, nil, err
	}
	file, diags := bottlefile.Load(ctx, bottlefile.Options{
		Path: path, Source: src, Dir: filepath.Dir(abs), Project: abs, Vars: vars, Version: version(),
	})
	if f.faults != nil {
		*f.faults = diags
		return file, targets, nil
	}
	return file, targets, a.diagnose(file, diags)
}

// nodes loads the bottle file and returns it with the nodes of the targets.
func (a *app) nodes(ctx context.Context, f *fileFlags, args []string) (*bottlefile.File, []*graph.Node, error) {
	file, targets, err := a.load(ctx, f, args)
	if err != nil {
		return nil, nil, err
	}
	nodes, diags := file.Nodes(targets)
	return file, nodes, a.diagnose(file, diags)
}

// locate finds the bottle file's path.
func (f *fileFlags) locate(args []string) (path string, targets []string, err error) {
	path, targets = f.file, args
	if path == "" && len(args) > 0 {
		if _, err := os.Stat(args[0]); err == nil {
			path, targets = args[0], args[1:]
		} else if looksLikePath(args[0]) {
			return "", nil, usageError("there is no bottle file %s", args[0])
		}
	}
	if path == "" {
		path = defaultFile
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		path = filepath.Join(path, defaultFile)
	}
	return path, targets, nil
}

// looksLikePath tells a file that is not there from a target.
func looksLikePath(arg string) bool {
	return strings.HasSuffix(arg, ".hcl") || strings.ContainsRune(arg, filepath.Separator) && !strings.ContainsRune(arg, '"')
}

// variables collects the values given for variables; --var beats the environment.
func (a *app) variables(f *fileFlags) (map[string]bottlefile.Var, error) {
	vars := map[string]bottlefile.Var{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if name, ok := strings.CutPrefix(name, varPrefix); ok {
			vars[name] = bottlefile.Var{Value: value, Origin: varPrefix + name}
		}
	}
	for _, kv := range f.vars {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, usageError("--var %q: write it as NAME=VALUE", kv)
		}
		vars[name] = bottlefile.Var{Value: value, Origin: "--var"}
	}
	return vars, nil
}

// diagnose prints the faults and warnings of a bottle file; with a fault it
// returns an error that has been told.
func (a *app) diagnose(file *bottlefile.File, diags bottlefile.Diagnostics) error {
	if len(diags) == 0 {
		return nil
	}
	width := uint(78)
	if w, _, err := term.GetSize(int(a.stderr.Fd())); err == nil && w > 0 {
		width = uint(w)
	}
	if err := bottlefile.WriteDiagnostics(a.stderr, file, diags, width, a.color(a.stderr)); err != nil {
		return err
	}
	if !diags.HasErrors() {
		return nil
	}
	return &exitError{code: exitUsage}
}

// color tells whether to colour what goes to f.
func (a *app) color(f *os.File) bool {
	if v, ok := a.lookup("NO_COLOR"); ok && v != "" {
		return false
	}
	return term.IsTerminal(int(f.Fd())) && a.env("TERM") != "dumb"
}
