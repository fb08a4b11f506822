package tasks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"bottlebuild/tasks/backend"
)

// Gone is the state of a machine that bottlebuild has a record of and no backend
// has: somebody has deleted it otherwise.
const Gone backend.State = "gone"

// MachineStatus is a machine that bottlebuild made, as it is now.
type MachineStatus struct {
	backend.Status
	// Record is what bottlebuild remembers of it; nil if that is lost.
	Record *Record
}

// Machines returns the machines that bottlebuild made, of every backend, by
// name. What could be found is returned with an error too.
func (w *Worker) Machines(ctx context.Context) ([]MachineStatus, error) {
	var errs []error
	records := map[string]*Record{}
	names, err := w.Records.Names()
	if err != nil {
		errs = append(errs, err)
	}
	for _, name := range names {
		rec, err := w.Records.Get(name)
		switch {
		case err == nil:
			records[name] = rec
		case !errors.Is(err, fs.ErrNotExist): // removed meanwhile
			errs = append(errs, err)
		}
	}
	var all []MachineStatus
	asked := map[string]bool{}
	for _, be := range w.Backends.All() {
		list, err := be.List(ctx)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		asked[be.Name()] = true
		for _, st := range list {
			all = append(all, MachineStatus{st, records[st.Name]})
			delete(records, st.Name)
		}
	}
	for name, rec := range records {
		if !asked[rec.Backend] || !rec.Complete { // or being made just now
			continue
		}
		all = append(all, MachineStatus{Record: rec, Status: backend.Status{
			Name: name, Backend: rec.Backend, State: Gone,
			Labels: map[string]string{backend.ProjectLabel: rec.Machine.Project, backend.AddressLabel: rec.Address, backend.SpecLabel: rec.Spec.String()},
		}})
	}
	slices.SortFunc(all, func(a, b MachineStatus) int { return cmp.Compare(a.Name, b.Name) })
	return all, errors.Join(errs...)
}

// find returns a machine's backend and its record, which is nil if that is lost;
// the error wraps [backend.ErrNotFound] if bottlebuild made no machine of that
// name.
func (w *Worker) find(ctx context.Context, name string) (backend.Backend, *Record, error) {
	rec, err := w.Records.Get(name)
	if err == nil {
		be, err := w.Backends.Named(ctx, rec.Backend, rec.Machine.Runtime)
		return be, rec, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	for _, be := range w.Backends.All() {
		st, err := be.Status(ctx, name)
		if err == nil && st.Labels[backend.ProjectLabel] != "" {
			return be, nil, nil
		}
		if err != nil && !errors.Is(err, backend.ErrNotFound) && !errors.Is(err, backend.ErrUnavailable) {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("machine %s: %w", name, backend.ErrNotFound)
}

// remembered is find for what needs the record.
func (w *Worker) remembered(ctx context.Context, name string) (backend.Backend, *Record, error) {
	be, rec, err := w.find(ctx, name)
	if err == nil && rec == nil {
		err = fmt.Errorf("machine %s: bottlebuild's record of it is lost: run its bottle file, which restores it", name)
	}
	return be, rec, err
}

// Start starts a machine, waits until it is ready, and checks it, as far as it
// was ever set up. Progress goes to log.
func (w *Worker) Start(ctx context.Context, name string, log io.Writer) error {
	return w.change(ctx, name, func(be backend.Backend, rec *Record) error {
		if rec == nil {
			_, _, err := w.remembered(ctx, name)
			return err
		}
		if err := be.Start(ctx, name); err != nil || !rec.Complete {
			return err
		}
		return w.guest(be, rec.Machine).settle(ctx, log)
	})
}

// Stop stops a machine that bottlebuild made.
func (w *Worker) Stop(ctx context.Context, name string) error {
	return w.change(ctx, name, func(be backend.Backend, _ *Record) error { return be.Stop(ctx, name) })
}

// VolumesOnly is the state of a machine of which only the volumes are left.
const VolumesOnly backend.State = "volumes"

// Down stops and removes a machine that bottlebuild made, with its disk; and if
// volumes is true, what is kept for it under names, also where only that is left.
func (w *Worker) Down(ctx context.Context, name string, volumes bool) error {
	err := w.change(ctx, name, func(be backend.Backend, _ *Record) error {
		err := be.Delete(ctx, name)
		if err == nil {
			err = w.Records.Delete(name)
		}
		if err == nil && volumes {
			err = w.Volumes.delete(name)
		}
		return err
	})
	if !volumes || !errors.Is(err, backend.ErrNotFound) || !w.Volumes.Has(name) {
		return err
	}
	unlock, err := w.Records.Lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	switch _, _, err := w.find(ctx, name); {
	case err == nil:
		return fmt.Errorf("machine %s has been made meanwhile, with these volumes", name)
	case !errors.Is(err, backend.ErrNotFound):
		return err
	}
	return w.Volumes.delete(name)
}

// change does something to a machine while no other process does. It is looked
// for again by then: whoever had the lock may have replaced or removed it.
func (w *Worker) change(ctx context.Context, name string, do func(backend.Backend, *Record) error) error {
	if _, _, err := w.find(ctx, name); err != nil {
		return err
	}
	unlock, err := w.Records.Lock(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	be, rec, err := w.find(ctx, name)
	if err != nil {
		return err
	}
	return do(be, rec)
}
