package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
	"bottlebuild/tasks"
	"bottlebuild/tasks/buildkit"
)

// addLocked adds the flag of commands that can insist on the lock file.
func (a *app) addLocked(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.locked, "locked", false, "refuse image tags, Git refs and URLs that the lock file does not pin (see bottlebuild lock)")
}

// checkLocked reports, with --locked, what the lock file lacks.
func (a *app) checkLocked(ctx context.Context, file *bottlefile.File, nodes []*graph.Node) error {
	if !a.locked {
		return nil
	}
	if err := tasks.CheckLocked(ctx, nodes, file.Pins(), platform()); err != nil {
		return planError(err)
	}
	return nil
}

// readLock reads a lock file; nil if there is none.
func readLock(path string) (*bottlefile.Source, error) {
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil && !fi.Mode().IsRegular() { // a pipe would be waited for
		err = fmt.Errorf("the lock file %s is no plain file", path)
	}
	if err != nil {
		return nil, usageError("%w", err)
	}
	b, err := bottlefile.ReadFile(path)
	if err != nil {
		return nil, usageError("%w", err)
	}
	return &bottlefile.Source{Path: path, Bytes: b}, nil
}

type lockFlags struct {
	fileFlags
	upgrade bool
	check   bool
}

func newLockCommand(a *app) *cobra.Command {
	var f lockFlags
	cmd := &cobra.Command{
		Use:   "lock [FILE] [--upgrade [NAME...]]",
		Short: "Pin image tags, Git refs and URLs in the lock file",
		Long: `Lock finds out what the image tags, Git refs and URLs stand for that the
Dockerfiles, contexts and bottles of a bottle file name, and writes it to the lock
file beside it: bottles.lock.hcl for bottles.hcl, and for a directory. Plans and
runs then take what stands there: plans need no network, and what is planned is
what is built, on every machine. What is in the file already stays as it is, and
what nothing names any more is removed.

With --upgrade it takes what all of them stand for now, or those that are named,
as the lock file writes them or as a Dockerfile does.

Keep the lock file with the bottle file. plan, run and validate take --locked,
which refuses what is not in it.`,
		Example: `  bottlebuild lock
  bottlebuild lock --upgrade
  bottlebuild lock bottles.hcl --upgrade node:22
  bottlebuild lock --check           exit code 2 if the file would change`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.lock(cmd.Context(), &f, args) },
	}
	f.add(cmd)
	cmd.Flags().BoolVar(&f.upgrade, "upgrade", false, "take what names stand for now: all of them, or those that are given")
	cmd.Flags().BoolVar(&f.check, "check", false, "write nothing; exit code 2 if the file would change")
	return cmd
}

func (a *app) lock(ctx context.Context, f *lockFlags, args []string) error {
	// Names look like paths, so what is no file counts as a name.
	var names []string
	if f.upgrade && len(args) > 0 && len(f.files) == 0 {
		if _, err := os.Stat(args[0]); err != nil {
			args, names = nil, args
		}
	}
	file, more, err := a.load(ctx, &f.fileFlags, args)
	if err != nil {
		return err
	}
	names = append(names, more...)
	if len(names) > 0 && !f.upgrade {
		return usageError("lock is for the whole bottle file; to take what %s stands for now: bottlebuild lock --upgrade %s", names[0], strings.Join(names, " "))
	}
	nodes := file.AllNodes()
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	old := file.Pins()
	kept, err := keep(old, f.upgrade, names)
	if err != nil {
		return err
	}
	s.worker.Pins = kept
	pins, undecided, err := s.worker.Lock(ctx, nodes)
	if err != nil {
		return planError(err)
	}
	if err := s.worker.SaveDownloads(); err != nil {
		return err
	}
	for _, address := range undecided {
		fmt.Fprintf(a.stderr, "bottlebuild: what %s names depends on other images' digests; it is not pinned\n", address)
	}
	text := bottlefile.FormatLock(pins)
	changed := a.tellLock(old, pins)
	path := f.lock
	if before, err := os.ReadFile(path); err == nil && bytes.Equal(before, text) || errors.Is(err, fs.ErrNotExist) && len(pins) == 0 {
		fmt.Fprintf(a.stderr, "%s is up to date: %d names\n", path, len(pins))
		return nil
	}
	if f.check {
		fmt.Fprintf(a.stderr, "%s would change\n", path)
		return &exitError{code: exitWork}
	}
	if err := renameio.WriteFile(path, text, 0o644); err != nil {
		return fmt.Errorf("write lock file: %w", err)
	}
	fmt.Fprintf(a.stderr, "wrote %s: %d names, %d changed\n", path, len(pins), changed)
	return nil
}

// keep returns the pins that stay: none of those to be upgraded.
func keep(old tasks.Pins, upgrade bool, names []string) (tasks.Pins, error) {
	kept := maps.Clone(old)
	if !upgrade {
		return kept, nil
	}
	if len(names) == 0 {
		return nil, nil
	}
	for _, name := range names {
		full, err := buildkit.FullName(name)
		found := false
		for p := range old {
			if p.Name == name || err == nil && p.Kind == tasks.PinImage && p.Name == full {
				found = true
				delete(kept, p)
			}
		}
		if !found {
			return nil, usageError("the lock file has no %s; it has:%s", name, list(old))
		}
	}
	return kept, nil
}

func list(pins tasks.Pins) string {
	var b strings.Builder
	for _, p := range slices.SortedFunc(maps.Keys(pins), tasks.Pin.Compare) {
		b.WriteString("\n  " + p.Name)
	}
	return b.String()
}

// tellLock prints what changes, a line each, and returns how many do.
func (a *app) tellLock(old, pins tasks.Pins) (changed int) {
	all := maps.Clone(pins)
	maps.Copy(all, old)
	for _, p := range slices.SortedFunc(maps.Keys(all), tasks.Pin.Compare) {
		before, after := old[p], pins[p]
		switch {
		case before == after:
			continue
		case before == "":
			fmt.Fprintf(a.stdout, "+ %s %s\n", p, after)
		case after == "":
			fmt.Fprintf(a.stdout, "- %s %s\n", p, before)
		default:
			fmt.Fprintf(a.stdout, "~ %s %s -> %s\n", p, before, after)
		}
		changed++
	}
	return changed
}

// moved returns what has come to stand for something else since it was locked.
// With --locked nobody is asked: the plan is then made without a network.
func (s *session) moved(ctx context.Context) []movedJSON {
	if s.locked {
		return nil
	}
	var moved []movedJSON
	for _, m := range s.worker.Moved(ctx) {
		moved = append(moved, movedJSON{m.Kind, m.Name, m.Locked, m.Now, m.Nodes})
	}
	return moved
}

// movedJSON is a name in the lock file that stands for something else by now.
type movedJSON struct {
	Kind   tasks.PinKind `json:"kind"` // "image", "git", "http"
	Name   string        `json:"name"`
	Locked string        `json:"locked"`
	Now    string        `json:"now"`
	Nodes  []string      `json:"nodes"` // addresses of the images that use it
}

// tellMoved says which names have moved, and how to take what they stand for now.
func (a *app) tellMoved(moved []movedJSON) {
	for _, m := range moved {
		fmt.Fprintf(a.stderr, "bottlebuild: %s %s (%s) has moved: the lock file has %s, it stands for %s now; take that with: bottlebuild lock --upgrade '%s'\n",
			m.Kind, m.Name, strings.Join(m.Nodes, ", "), m.Locked, m.Now, m.Name)
	}
}
