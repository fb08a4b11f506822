package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"bottlebuild/tasks/backend"
)

// MachineStatus is a machine that bottlebuild made, as it is now.
type MachineStatus struct {
	backend.Status
	// Record is what bottlebuild remembers of it; nil if that is lost.
	Record *Record
}

// Machines returns the machines that bottlebuild made, of every backend, by name.
func (w *Worker) Machines(ctx context.Context) ([]MachineStatus, error) {
	var all []MachineStatus
	var errs []error
	for _, be := range w.Backends.All() {
		list, err := be.List(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, st := range list {
			m := MachineStatus{Status: st}
			if m.Record, err = w.Records.Get(st.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			all = append(all, m)
		}
	}
	slices.SortFunc(all, func(a, b MachineStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(errs...)
}

// recorded returns a machine's record and its backend; the error wraps
// [backend.ErrNotFound] if bottlebuild made no machine of that name.
func (w *Worker) recorded(ctx context.Context, name string) (*Record, backend.Backend, error) {
	rec, err := w.Records.Get(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("machine %s: %w", name, backend.ErrNotFound)
	}
	if err != nil {
		return nil, nil, err
	}
	be, err := w.Backends.Named(ctx, rec.Backend, rec.Machine.Runtime)
	return rec, be, err
}

// ExecIn runs a command in a machine that bottlebuild made: with the machine's
// environment, which backends lose, and as its user and in its working directory
// unless e says otherwise.
func (w *Worker) ExecIn(ctx context.Context, name string, e backend.Exec) (code int, err error) {
	rec, be, err := w.recorded(ctx, name)
	if err != nil {
		return 0, err
	}
	env := maps.Clone(rec.Machine.Env)
	if env == nil {
		env = map[string]string{}
	}
	maps.Copy(env, e.Env)
	e.Env = env
	if e.User == "" {
		e.User = rec.Machine.User
	}
	if e.Workdir == "" {
		e.Workdir = rec.Machine.Workdir
	}
	return be.Exec(ctx, name, e)
}

// Stop stops a machine that bottlebuild made.
func (w *Worker) Stop(ctx context.Context, name string) error {
	return w.change(ctx, name, func(be backend.Backend) error { return be.Stop(ctx, name) })
}

// Down stops and removes a machine that bottlebuild made, with its disk.
func (w *Worker) Down(ctx context.Context, name string) error {
	return w.change(ctx, name, func(be backend.Backend) error {
		if err := be.Delete(ctx, name); err != nil {
			return err
		}
		return w.Records.Delete(name)
	})
}

// change does something to a machine while no other process does.
func (w *Worker) change(ctx context.Context, name string, do func(backend.Backend) error) error {
	_, be, err := w.recorded(ctx, name)
	if err != nil {
		return err
	}
	unlock, err := w.lockMachine(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	return do(be)
}

// lockMachine keeps other processes from changing the machine of that name.
func (w *Worker) lockMachine(ctx context.Context, name string) (unlock func(), err error) {
	return w.Store.LockName(ctx, "machine-"+name)
}
