package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"

	"bottlebuild/graph"
)

// settle is how long nothing must have changed before a run is begun: what
// changes several files should be run once.
const settle = 150 * time.Millisecond

// watch tells of changes in directories.
type watch struct {
	*fsnotify.Watcher
	dirs   map[string]bool
	own    []string // paths that bottlebuild itself writes to
	report string   // of --metadata-file, which every run writes; or empty
	begun  bool     // whether a run has ended
	unseen bool     // whether something may have changed that was not watched
}

// add watches dirs and reports whether one of them was not watched before. One
// that is gone by now is left out: its parent is watched too.
func (w *watch) add(dirs []string) (grown bool, err error) {
	for _, dir := range dirs {
		if w.dirs[dir] {
			continue
		}
		switch err := w.Add(dir); {
		case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
			continue
		case errors.Is(err, syscall.ENOSPC):
			return grown, fmt.Errorf("watch %s: the system watches too many directories already; allow more with: sysctl fs.inotify.max_user_watches=1048576", dir)
		case err != nil:
			return grown, fmt.Errorf("watch %s: %w", dir, err)
		}
		w.dirs[dir] = true
		grown = true
	}
	return grown, nil
}

// wait returns when something has changed and then nothing more for a while.
func (w *watch) wait(ctx context.Context) error {
	w.begun = true
	if w.unseen {
		w.unseen = false
		return nil
	}
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case err := <-w.Errors:
			if !errors.Is(err, fsnotify.ErrEventOverflow) { // then so much has changed that some of it matters
				return fmt.Errorf("watch files: %w", err)
			}
			quiet = time.After(settle)
		case e := <-w.Events:
			if e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
				delete(w.dirs, e.Name) // if it is a directory and comes back, it is another
			}
			if !w.wrote(e.Name) {
				quiet = time.After(settle)
			}
		case <-quiet:
			return nil
		}
	}
}

// wrote reports whether it is bottlebuild itself that changes a path: to run again
// for that would never end.
func (w *watch) wrote(path string) bool {
	if slices.Contains(w.own, path) {
		return true
	}
	if w.report == "" || filepath.Dir(path) != filepath.Dir(w.report) {
		return false
	}
	base := filepath.Base(w.report)
	return filepath.Base(path) == base || strings.HasPrefix(filepath.Base(path), "."+base) // until it is renamed
}

// watchRun runs again and again, whenever something has changed that the nodes'
// keys are made of, until it is interrupted. A run that fails is no end.
func (a *app) watchRun(ctx context.Context, f *runFlags, args []string) error {
	if slices.Contains(f.files, stdinName) {
		return usageError("--watch: standard input cannot be read twice; name a file")
	}
	if saved, err := a.savedArgument(&f.selection, args); err != nil {
		return err
	} else if saved != nil {
		return usageError("--watch: %s is a saved plan, which holds once; name the bottle file", args[0])
	}
	paths, _, err := f.locate(args)
	if err != nil {
		return err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	defer watcher.Close()
	w := &watch{Watcher: watcher, dirs: map[string]bool{}, own: []string{absolute(a.cacheDir()), absolute(a.stateDir())}}
	if f.metadata != "" {
		w.report = absolute(f.metadata)
	}
	dirs, err := fileDirs(append(paths, f.varFiles...))
	if err != nil {
		return err
	}
	f.watch = w
	for {
		if _, err := w.add(dirs); err != nil {
			return err
		}
		switch err := a.run(ctx, f, args); {
		case ctx.Err() != nil:
			return err
		case err != nil:
			a.report(err)
		}
		if !w.begun && f.progress != "quiet" && !a.rawProgress {
			fmt.Fprintf(a.stderr, "bottlebuild: watching %d directories; end with Ctrl-C\n", len(w.dirs))
		}
		if err := w.wait(ctx); err != nil {
			return err
		}
	}
}

// fileDirs returns the absolute directories that the files are in; a directory
// stands for itself.
func fileDirs(paths []string) ([]string, error) {
	var dirs []string
	for _, p := range paths {
		abs, err := filepath.Abs(p)
		if err != nil {
			return nil, err
		}
		if fi, err := os.Stat(abs); err != nil || !fi.IsDir() {
			abs = filepath.Dir(abs)
		}
		dirs = append(dirs, abs)
	}
	return dirs, nil
}

// follow watches what the nodes of a plan read, and reports whether that is more
// than before: then something may have changed unseen.
func (w *watch) follow(ctx context.Context, x *execution, p *graph.Plan) (grown bool, err error) {
	if w == nil || p == nil {
		return false, nil
	}
	var dirs []string
	for _, name := range x.chosen.file.Inputs() {
		dirs = append(dirs, filepath.Dir(filepath.Join(x.in.dir, name)))
	}
	for _, s := range p.Steps {
		more, err := x.worker.InputDirs(ctx, s.Spec())
		if ctx.Err() != nil {
			return false, err
		}
		dirs = append(dirs, more...) // what cannot be read now is an error of the run
	}
	return w.add(dirs)
}

// followRun watches what has become known of the nodes since the plan.
func (w *watch) followRun(ctx context.Context, x *execution, p *graph.Plan) error {
	grown, err := w.follow(ctx, x, p)
	if grown {
		w.unseen = true
	}
	return err
}

// idle reports whether a run that has begun because of a change had nothing to do.
func (w *watch) idle(r *graph.Report, err error) bool {
	return w != nil && w.begun && err == nil && r != nil && !slices.ContainsFunc(r.Results, func(res *graph.Result) bool { return res.Status != graph.Cached })
}

// tell says what a change has led to: the nodes that will run, and why.
func (w *watch) tell(a *app, p *graph.Plan) {
	if w == nil || !w.begun || a.rawProgress {
		return
	}
	for _, s := range p.Steps {
		if s.Decision == graph.Run {
			fmt.Fprintf(a.stderr, "bottlebuild: %s: %s\n", s.Node.Address, reasonLine(s.Reasons))
		}
	}
}
