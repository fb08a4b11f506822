package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	bottlefile "bottlebuild/hcl"
)

// stdinName is what names standard input with -f.
const stdinName = "-"

// input is what a command reads as its bottle file.
type input struct {
	sources []bottlefile.Source
	dir     string // absolute
	project string // absolute path of the file, or of the directory
	lock    string // path of the lock file, which need not be there
	paths   []string
	options bottlefile.Options // what was made of it
}

// locate finds the paths of the bottle file: what -f names, else a first
// argument that is a file or a directory, else the default. A file that is named
// without -f brings its override file.
func (f *fileFlags) locate(args []string) (paths, targets []string, err error) {
	if len(f.files) > 0 {
		return f.files, args, nil
	}
	path, targets := defaultFile, args
	if len(args) > 0 {
		if _, err := os.Stat(args[0]); err == nil {
			path, targets = args[0], args[1:]
		} else if looksSaved(args[0]) {
			return nil, nil, usageError("there is no saved plan %s", args[0])
		} else if looksLikePath(args[0]) {
			return nil, nil, usageError("there is no bottle file %s", args[0])
		} else if args[0] == stdinName {
			return nil, nil, usageError("standard input is read with -f -")
		}
	}
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		return []string{path}, targets, nil
	}
	return append([]string{path}, bottlefile.Overrides(path)...), targets, nil
}

// readSources reads the files at the paths, and those in the directories among them.
// All of them are in one directory, to which paths in them are relative;
// standard input counts as being where the others are.
func (a *app) readSources(paths []string) (*input, error) {
	in := &input{}
	at := ""
	for _, path := range paths {
		files, dir, err := expand(path)
		if err != nil {
			return nil, err
		}
		if dir != "" && in.dir != "" && dir != in.dir {
			return nil, usageError("%s and %s are in different directories; paths in a bottle file are relative to its directory, so its files have to be in one", at, path)
		}
		if dir != "" {
			in.dir, at = dir, path
		}
		read := 0
		for _, p := range files {
			if slices.ContainsFunc(in.sources, func(s bottlefile.Source) bool { return filepath.Clean(s.Path) == filepath.Clean(p) }) {
				return nil, usageError("the bottle file %s is named twice", p)
			}
			s, err := a.source(p)
			if err != nil {
				return nil, err
			}
			in.sources = append(in.sources, s)
			read += len(s.Bytes)
		}
		if read == 0 {
			return nil, usageError("the bottle file %s is empty", path)
		}
	}
	if in.dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return nil, err
		}
		in.dir = dir
	}
	in.project = filepath.Join(in.dir, filepath.Base(paths[0]))
	in.lock = bottlefile.LockPath(paths[0], false)
	if fi, err := os.Stat(paths[0]); err == nil && fi.IsDir() {
		in.project, in.lock = in.dir, bottlefile.LockPath(paths[0], true)
	} else if paths[0] == stdinName {
		in.lock = bottlefile.LockPath(in.dir, true)
	}
	return in, nil
}

// expand returns the files that a path stands for, and their absolute directory,
// which is empty for standard input.
func expand(path string) (files []string, dir string, err error) {
	if path == stdinName {
		return []string{path}, "", nil
	}
	files, parent := []string{path}, filepath.Dir(path)
	if fi, err := os.Stat(path); err == nil && fi.IsDir() {
		if files, err = bottlefile.FilesIn(path); errors.Is(err, fs.ErrNotExist) {
			return nil, "", usageError("there is no bottle file in the directory %s", path)
		} else if err != nil {
			return nil, "", usageError("%w", err)
		}
		parent = path
	}
	if strings.HasPrefix(path, "/dev/fd/") { // a shell's <(…): as standard input
		return files, "", nil
	}
	dir, err = filepath.Abs(parent)
	return files, dir, err
}

// source reads a file, or standard input.
func (a *app) source(path string) (bottlefile.Source, error) {
	if path == stdinName {
		b, err := bottlefile.Read(a.stdin)
		if err != nil {
			return bottlefile.Source{}, usageError("read bottle file from standard input: %w", err)
		}
		return bottlefile.Source{Path: "<stdin>", Bytes: b}, nil
	}
	b, err := bottlefile.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return bottlefile.Source{}, usageError("there is no bottle file %s: name one as the first argument, or make it", path)
	}
	if err != nil {
		return bottlefile.Source{}, usageError("%w", err)
	}
	if bytes.HasPrefix(b, []byte(savedMagic)) {
		return bottlefile.Source{}, usageError("%s is a saved plan; name the bottle file, or print the plan with: bottlebuild plan %s", path, path)
	}
	return bottlefile.Source{Path: path, Bytes: b, Override: bottlefile.IsOverride(path)}, nil
}
