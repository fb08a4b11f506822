package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/spf13/cobra"

	bottlefile "bottlebuild/hcl"
	"bottlebuild/tasks"
	"bottlebuild/tasks/backend"
)

// machineArgs explains the arguments of commands on several machines.
const machineArgs = `A MACHINE is a name, a pattern of names such as 'web-*', or what the bottle file
calls it: bottle.web, 'bottle.web["a"]'. A first argument that is a bottle file,
or a directory of them, stands for all of its machines, or narrows the others to
those.`

// choice is the machines that a command line names.
type choice struct {
	machines []tasks.MachineStatus // by name
	// file is the bottle file, nil if none was named or found.
	file    *bottlefile.File
	project string
	// explicit: machines were named, beside or instead of a file.
	explicit bool
}

// choose finds the machines that args name, in the form of [machineArgs]. Without
// any, it is all of the bottle file's, or if there is none all there are. Every
// argument that names none is in the error, and the others are in the result. Names
// in kept, of machines of which only the volumes may be left, are chosen too.
func (s *session) choose(ctx context.Context, f *fileFlags, args []string, kept ...string) (*choice, error) {
	all, err := s.worker.Machines(ctx)
	if err != nil && len(all) == 0 {
		return nil, err
	}
	c := &choice{}
	byName := func(name string) bool {
		return slices.ContainsFunc(all, func(m tasks.MachineStatus) bool { return m.Name == name })
	}
	for _, name := range kept {
		if !byName(name) {
			all = append(all, tasks.MachineStatus{Status: backend.Status{Name: name, State: tasks.VolumesOnly}})
		}
	}
	named := len(f.files) > 0
	if !named && len(args) > 0 && !byName(args[0]) {
		_, err := os.Stat(args[0])
		named = err == nil || looksLikePath(args[0])
	}
	if named {
		file, rest, err := s.load(ctx, f, args)
		if err != nil {
			return nil, err
		}
		c.file, c.project, args = file, file.Project(), rest
		all = slices.DeleteFunc(all, func(m tasks.MachineStatus) bool {
			return project(m) != c.project && (m.State != tasks.VolumesOnly || !c.declared(m.Name))
		})
	}
	if len(args) == 0 {
		c.machines = all
		return c, err
	}
	c.explicit = true
	picked := map[string]bool{}
	errs := []error{err}
	for _, arg := range args {
		n := 0
		for _, m := range all {
			if matches(arg, m) {
				picked[m.Name] = true
				n++
			}
		}
		if n == 0 {
			errs = append(errs, s.noMachine(arg, all))
		}
	}
	for _, m := range all {
		if picked[m.Name] {
			c.machines = append(c.machines, m)
		}
	}
	return c, errors.Join(errs...)
}

func project(m tasks.MachineStatus) string { return m.Labels[backend.ProjectLabel] }
func address(m tasks.MachineStatus) string { return m.Labels[backend.AddressLabel] }

// matches tells whether an argument names a machine.
func matches(arg string, m tasks.MachineStatus) bool {
	if arg == m.Name {
		return true
	}
	if strings.ContainsAny(arg, "*?[") {
		if ok, err := path.Match(arg, m.Name); err == nil && ok {
			return true
		}
	}
	rest, ok := strings.CutPrefix(address(m), arg)
	return ok && strings.HasPrefix(arg, "bottle.") && (rest == "" || rest[0] == '.' || rest[0] == '[')
}

// noMachine is the error for an argument that names no machine.
func (a *app) noMachine(arg string, all []tasks.MachineStatus) error {
	best, distance := "", max(2, len(arg)/3)+1
	for _, m := range all {
		if d := levenshtein.Distance(arg, m.Name, nil); d < distance {
			best, distance = m.Name, d
		}
	}
	switch {
	case best != "":
		return usageError("there is no machine %s; did you mean %s?", arg, best)
	case len(all) == 0:
		return usageError("there is no machine %s, and no other; bottlebuild run makes those of a bottle file", arg)
	}
	return usageError("there is no machine %s; see: bottlebuild ps", arg)
}

// named turns the error of an operation on one machine into one of usage if
// there is no such machine.
func (s *session) named(ctx context.Context, name string, err error) error {
	if !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	if s.worker.Records.Has(name) {
		return usageError("machine %s is gone: somebody has deleted it otherwise. Run its bottle file to make it again, or forget it: bottlebuild down %s", name, name)
	}
	all, _ := s.worker.Machines(ctx) // for a suggestion
	return s.noMachine(name, all)
}

// orphan tells whether nobody declares a machine any more: the bottle file it is
// of is gone, or is the one that was read and has no such machine. why is empty
// if it is none, or if that is not known.
func (c *choice) orphan(m tasks.MachineStatus) (why string) {
	if p := project(m); c.file != nil && p == c.project {
		if c.declared(m.Name) {
			return ""
		}
		return "its bottle file declares it no more"
	} else if p != "" {
		if _, err := os.Stat(p); errors.Is(err, os.ErrNotExist) {
			return "its bottle file is gone"
		}
	}
	return ""
}

// declared tells whether the bottle file has a machine of this name.
func (c *choice) declared(name string) bool {
	return slices.ContainsFunc(c.file.Machines(), func(d bottlefile.Machine) bool { return d.Name == name })
}

// machinesAtOnce is how many machines are started, stopped or removed at a time.
const machinesAtOnce = 8

// each does something to each of the machines, to some at a time, prints the names
// of those where it succeeded in the order that they have, and returns all errors.
func (s *session) each(machines []tasks.MachineStatus, do func(name string) error) error {
	slots := make(chan struct{}, machinesAtOnce)
	results := make([]chan error, len(machines))
	for i, m := range machines {
		results[i] = make(chan error, 1)
		go func() {
			slots <- struct{}{}
			results[i] <- do(m.Name)
			<-slots
		}()
	}
	var errs []error
	for i, m := range machines {
		if err := <-results[i]; err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(s.stdout, m.Name)
	}
	return errors.Join(errs...)
}

// completeMachines completes the names of machines, up to most of them.
func (a *app) completeMachines(most int) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveDefault
		}
		names, err := a.records().Names()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		names = slices.DeleteFunc(names, func(n string) bool { return slices.Contains(args, n) })
		slices.SortFunc(names, cmp.Compare)
		if most == 0 {
			return names, cobra.ShellCompDirectiveDefault // a bottle file is fine too
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
