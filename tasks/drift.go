package tasks

import (
	"context"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// Drift names what of a machine is not as the parameters p want it: components
// of its recipe, and "pack" if a newer pack than its own is known to the cache.
// It builds and contacts nothing, so an image that has changed since the last
// run is not seen: that is what plans are for.
func (w *Worker) Drift(ctx context.Context, m MachineStatus, p Machine) ([]string, error) {
	if m.Record == nil || m.State == Gone {
		return nil, nil
	}
	be, err := w.Backends.Named(ctx, p.Backend, p.Runtime)
	if err != nil {
		return nil, err
	}
	was, err := w.Backends.Named(ctx, m.Record.Backend, m.Record.Machine.Runtime)
	if err != nil {
		return nil, err
	}
	var drift []string
	for _, c := range cache.Diff(machineRecipe(was, m.Record.Machine, cache.Digest{}), machineRecipe(be, p, cache.Digest{})) {
		drift = append(drift, c.Component)
	}
	drift = append(drift, changedInPlace(m.Record.Machine, p)...)
	if w.newerPack(m, p) {
		drift = append(drift, "pack")
	}
	return drift, nil
}

// newerPack reports whether the last pack that was made for the machine's bottle
// is another than the machine's.
func (w *Worker) newerPack(m MachineStatus, p Machine) bool {
	key, err := w.Store.Latest(p.Project, p.Pack)
	if err != nil {
		return false
	}
	entry, err := w.Store.Get(key)
	if err != nil {
		return false
	}
	own, err := cache.ParseDigest(m.Labels[backend.PackLabel])
	return err == nil && own != entry.Output.Digest
}
