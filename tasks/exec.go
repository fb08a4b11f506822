package tasks

import (
	"context"
	"fmt"
	"io"

	"bottlebuild/tasks/backend"
)

// ExecIn runs a command in a machine that bottlebuild made: with the machine's
// environment and secrets, which are read anew, and as its user and in its
// working directory, unless e says otherwise. The error wraps
// [backend.ErrNotFound] if there is no such machine.
func (w *Worker) ExecIn(ctx context.Context, name string, e backend.Exec, withoutSecrets bool) (code int, err error) {
	be, rec, err := w.running(ctx, name)
	if err != nil {
		return 0, err
	}
	p := rec.Machine
	if withoutSecrets {
		p.Secrets = nil
	}
	if e.User == "" {
		e.User = p.User
	}
	if e, err = w.guest(be, p).command(ctx, e); err != nil {
		return 0, fmt.Errorf("machine %s: %w (bottlebuild exec --no-secrets does without it)", name, err)
	}
	return be.Exec(ctx, name, e)
}

// CopyTo copies what an archive holds into a machine, see [backend.Backend]'s
// Unpack. The owner, if empty, is the machine's user, where the bottle file
// names one.
func (w *Worker) CopyTo(ctx context.Context, name, dst, owner string, archive io.Reader) error {
	be, rec, err := w.running(ctx, name)
	if err != nil {
		return err
	}
	if owner == "" {
		owner = rec.Machine.User
	}
	return be.Unpack(ctx, name, dst, owner, archive)
}

// CopyFrom writes a file or directory of a machine to out as an archive, see
// [backend.Backend]'s CopyOut.
func (w *Worker) CopyFrom(ctx context.Context, name, path string, out io.Writer) error {
	be, _, err := w.running(ctx, name)
	if err != nil {
		return err
	}
	return be.CopyOut(ctx, name, path, out)
}

// running returns a machine that runs.
func (w *Worker) running(ctx context.Context, name string) (backend.Backend, *Record, error) {
	be, rec, err := w.remembered(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	st, err := be.Status(ctx, name)
	if err == nil && st.State != backend.Running && st.PID == 0 {
		err = fmt.Errorf("machine %s is %s: start it with: bottlebuild start %s", name, st.State, name)
	}
	return be, rec, err
}
