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

	bottlefile "bottlebuild/hcl"
)

// defaultFile is the bottle file when none is named.
const defaultFile = "bottles.hcl"

// varPrefix is what starts the name of an environment variable that gives a
// variable its value.
const varPrefix = "BOTTLE_VAR_"

// fileFlags are the flags of commands that read a bottle file.
type fileFlags struct {
	files    []string
	varFiles []string
	vars     []string
	sets     []string
	// saved, if not nil, is the saved plan that gives the values of variables.
	saved *savedPlan
	// read, if not nil, takes what was read as the bottle file.
	read *input
	// faults, if not nil, takes what is wrong with the file, which is then not
	// printed and no error of load.
	faults *bottlefile.Diagnostics
	// lock is the path of the lock file, which need not be there; load sets it.
	lock string
}

func (f *fileFlags) add(cmd *cobra.Command) {
	textsFlag(cmd, &f.files, "file", "f", "the bottle file, a directory of them, or - for standard input; repeatable (default \""+defaultFile+"\")")
	textsFlag(cmd, &f.vars, "var", "", "give a variable a value, as `NAME=VALUE`; repeatable")
	textsFlag(cmd, &f.varFiles, "var-file", "", "give variables the values in a `FILE`: NAME = VALUE lines, or a JSON object if it ends in .json; repeatable")
	textsFlag(cmd, &f.sets, "set", "", "set an attribute, as `PATH=VALUE`: 'bottle.*.machine.cpus=2'; repeatable")
}

// load reads the bottle file and returns it with the targets among args: a
// first argument that is a file or a directory is the bottle file. Faults in
// the file are printed, each with its place.
func (a *app) load(ctx context.Context, f *fileFlags, args []string) (*bottlefile.File, []string, error) {
	paths, targets, err := f.locate(args)
	if err != nil {
		return nil, nil, err
	}
	in, err := a.readSources(paths)
	if err != nil {
		return nil, nil, err
	}
	in.paths = paths
	o := bottlefile.Options{
		Files: in.sources, Dir: in.dir, Project: in.project, Version: version(),
		Env: environmentVars(), Sets: f.sets,
	}
	f.lock = in.lock
	if o.Lock, err = readLock(in.lock); err != nil {
		return nil, nil, err
	}
	if o.Vars, err = f.commandVars(); err != nil {
		return nil, nil, err
	}
	if o.VarFiles, err = f.readVarFiles(); err != nil {
		return nil, nil, err
	}
	if f.saved != nil {
		if err := f.saved.restore(&o); err != nil {
			return nil, nil, err
		}
	}
	if f.read != nil {
		in.options = o
		*f.read = *in
	}
	loaded, err := unlessInterrupted(ctx, func() loading {
		file, diags := bottlefile.Load(ctx, o)
		return loading{file, diags}
	})
	if err != nil {
		return nil, nil, err
	}
	file, diags := loaded.file, loaded.diags
	if f.faults != nil {
		*f.faults = diags
		return file, targets, nil
	}
	return file, targets, a.diagnose(file, diags)
}

type loading struct {
	file  *bottlefile.File
	diags bottlefile.Diagnostics
}

// unlessInterrupted returns what f returns, or ctx's error as soon as there is
// one: expressions can take long and cannot be stopped, so f then goes on until
// the process ends.
func unlessInterrupted[T any](ctx context.Context, f func() T) (T, error) {
	done := make(chan T, 1)
	go func() { done <- f() }()
	select {
	case v := <-done:
		return v, nil
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// looksLikePath tells a file that is not there from a target.
func looksLikePath(arg string) bool {
	return strings.HasSuffix(arg, ".hcl") || strings.HasSuffix(arg, ".hcl.json") || strings.ContainsRune(arg, filepath.Separator) && !strings.ContainsRune(arg, '"')
}

// environmentVars returns the values that the environment gives for variables.
func environmentVars() map[string]bottlefile.Var {
	vars := map[string]bottlefile.Var{}
	for _, kv := range os.Environ() {
		name, value, _ := strings.Cut(kv, "=")
		if name, ok := strings.CutPrefix(name, varPrefix); ok {
			vars[name] = bottlefile.Var{Value: value, Origin: varPrefix + name}
		}
	}
	return vars
}

// commandVars returns the values that --var gives for variables.
func (f *fileFlags) commandVars() (map[string]bottlefile.Var, error) {
	vars := map[string]bottlefile.Var{}
	for _, kv := range f.vars {
		name, value, ok := strings.Cut(kv, "=")
		if !ok || name == "" {
			return nil, usageError("--var %q: write it as NAME=VALUE", kv)
		}
		vars[name] = bottlefile.Var{Value: value, Origin: "--var"}
	}
	return vars, nil
}

func (f *fileFlags) readVarFiles() ([]bottlefile.Source, error) {
	var sources []bottlefile.Source
	for _, path := range f.varFiles {
		b, err := bottlefile.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, usageError("--var-file: there is no file %s", path)
		}
		if err != nil {
			return nil, usageError("--var-file %s: %w", path, err)
		}
		sources = append(sources, bottlefile.Source{Path: path, Bytes: b})
	}
	return sources, nil
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
	a.annotate(file, diags)
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
