package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
)

// The exit codes, as README.md lists them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitWork        = 2 // of --detailed-exitcode
	exitUsage       = 3
	exitUnavailable = 4
	exitExhausted   = 5
	exitDamaged     = 6
	exitInterrupted = 130
)

// exitError is an error with the code to leave with. A nil cause prints nothing.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// usageError marks what the user has to mend in the command line or the bottle file.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// classify finds the exit code of an error; otherwise is that of one that has
// no code of its own.
func classify(err error, otherwise int) int {
	var coded *exitError
	switch {
	case err == nil:
		return exitDone
	case runsOut(err):
		return exitExhausted
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, buildkit.ErrUnavailable), errors.Is(err, backend.ErrUnavailable), errors.Is(err, registry.ErrUnavailable):
		return exitUnavailable
	case errors.Is(err, cache.ErrDamaged), errors.Is(err, remote.ErrUntrusted):
		return exitDamaged
	}
	return otherwise
}

// exhausted are what a machine runs out of: the disk, a quota, open files.
var exhausted = []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE}

// runsOut reports whether err says that this machine has run out of something. An
// error that reached us through a daemon or a child process is only text.
func runsOut(err error) bool {
	return slices.ContainsFunc(exhausted, func(e syscall.Errno) bool {
		return errors.Is(err, e) || strings.Contains(err.Error(), e.Error())
	})
}

// report prints an error and returns the exit code.
func (a *app) report(err error) int {
	code := classify(err, exitFailed)
	var coded *exitError
	if errors.As(err, &coded) && coded.err == nil || err == nil {
		return code
	}
	unquote := a.job().Quote() // an error may hold what a build has printed
	fmt.Fprintf(a.stderr, "bottlebuild: %v\n", err)
	unquote()
	a.annotateNodes(err)
	var fs unix.Statfs_t
	const little = 64 << 20 // bytes
	if code == exitExhausted && unix.Statfs(a.cacheDir(), &fs) == nil && uint64(fs.Bavail)*uint64(fs.Bsize) < little {
		fmt.Fprintf(a.stderr, "bottlebuild: the disk of the cache is full: %s\n", a.cacheDir())
	}
	if err != nil && errors.Is(err, syscall.EMFILE) {
		fmt.Fprintln(a.stderr, "bottlebuild: allow more open files, with: ulimit -n 65536")
	}
	return code
}
