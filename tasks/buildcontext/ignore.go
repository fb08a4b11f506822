package buildcontext

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/moby/patternmatcher/ignorefile"
)

// maxIgnoreFile bounds an ignore file, in bytes; BuildKit reads no more than 16 MiB.
const maxIgnoreFile = 1 << 20

// IgnoreFile returns the patterns of the ignore file of a build: that of
// dockerfile's path with ".dockerignore" added, if there is such a file, else
// dir/.dockerignore, else none. Without a Dockerfile of its own, as with an
// inline one, dockerfile is empty. Symbolic links are followed within the
// directory that the file is in.
func IgnoreFile(dir, dockerfile string) (patterns []string, err error) {
	if dockerfile != "" {
		patterns, err = readIgnoreFile(filepath.Dir(dockerfile), filepath.Base(dockerfile)+".dockerignore")
		if !errors.Is(err, fs.ErrNotExist) {
			return patterns, err
		}
	}
	patterns, err = readIgnoreFile(dir, ".dockerignore")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return patterns, err
}

// Ignored tells whether the patterns of an ignore file leave out what is at a
// slash-separated path in the directory: if it is a directory, with all that is in it.
func Ignored(patterns []string, name string, dir bool) (bool, error) {
	s, err := (&rules{exclude: patterns}).selector()
	if err != nil {
		return false, err
	}
	var m matches
	for i := range name {
		if name[i] != '/' {
			continue
		}
		var v verdict
		if v, m, err = s.visit(name[:i], true, m); err != nil || v == leave {
			return v == leave, err
		}
	}
	v, _, err := s.visit(name, dir, m)
	return v == leave, err
}

func readIgnoreFile(dir, name string) ([]string, error) {
	file := filepath.Join(dir, name)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("read ignore file %s: %w", file, err)
	}
	defer root.Close()
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe must not hang
	if err != nil {
		return nil, fmt.Errorf("read ignore file %s: %w", file, err)
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read ignore file %s: %w", file, err)
	}
	if !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("read ignore file %s: it is not a plain file", file)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxIgnoreFile+1))
	if err != nil {
		return nil, fmt.Errorf("read ignore file %s: %w", file, err)
	}
	if len(b) > maxIgnoreFile {
		return nil, fmt.Errorf("read ignore file %s: it has more than %d bytes", file, maxIgnoreFile)
	}
	patterns, err := ignorefile.ReadAll(bytes.NewReader(b))
	if err != nil {
		return nil, fmt.Errorf("read ignore file %s: %w", file, err)
	}
	return patterns, nil
}
