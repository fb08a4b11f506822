package smolvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bottlebuild/tasks/backend"
)

// Start starts a machine. One whose virtual machine broke or was too slow is
// started once more. A frozen one is left alone, with an error.
func (b *Backend) Start(ctx context.Context, name string) error {
	if err := b.start(ctx, name); err != nil {
		return fmt.Errorf("start machine %s: %w", name, err)
	}
	return nil
}

func (b *Backend) start(ctx context.Context, name string) error {
	st, err := b.status(ctx, name)
	if err != nil {
		return err
	}
	switch st.State {
	case backend.Running:
		return nil
	case backend.Frozen:
		return errFrozen
	}
	err = b.startOnce(ctx, name)
	var ce *commandError
	if !errors.As(err, &ce) {
		return err
	}
	st, serr := b.status(ctx, name)
	if serr != nil || st.State != backend.Broken && !ce.slowBoot() {
		return err
	}
	return b.startOnce(ctx, name)
}

func (b *Backend) startOnce(ctx context.Context, name string) error {
	if _, err := b.call(ctx, "machine", "start", "--name", name); err != nil {
		return err
	}
	return b.confirm(ctx, name, "start", backend.Running)
}

// confirm looks whether a machine is what a command that succeeded should have
// made it: smolvm's exit code alone does not tell.
func (b *Backend) confirm(ctx context.Context, name, command string, want ...backend.State) error {
	st, err := b.status(ctx, name)
	if err == nil && !slices.Contains(want, st.State) {
		err = fmt.Errorf("the machine is %s", st.State)
	}
	if err != nil {
		return fmt.Errorf("smolvm machine %s succeeded, and yet: %w", command, err)
	}
	return nil
}

var errFrozen = errors.New("it is frozen, or in a state that this version of bottlebuild does not know, and is left alone: see \"smolvm machine ls\"")

// Stop stops a machine. A frozen one is left alone, with an error.
func (b *Backend) Stop(ctx context.Context, name string) error {
	st, err := b.Status(ctx, name)
	switch {
	case err != nil:
	case st.State == backend.Frozen:
		err = errFrozen
	case st.State == backend.Stopped || st.State == backend.Created:
	default:
		if _, err = b.call(ctx, "machine", "stop", "--name", name); err == nil {
			err = b.confirm(ctx, name, "stop", backend.Stopped, backend.Created, backend.Broken)
		}
	}
	if err != nil {
		return fmt.Errorf("stop machine %s: %w", name, err)
	}
	return nil
}

// Delete stops and removes a machine and its copy of the pack. It refuses a
// machine that bottlebuild did not make, and one that is frozen.
func (b *Backend) Delete(ctx context.Context, name string) error {
	st, err := b.Status(ctx, name)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		err = nil
	case err != nil:
	case !b.ours(name, st.Labels):
		err = fmt.Errorf("bottlebuild did not make it: remove it with \"smolvm machine delete --name %s\"", name)
	case st.State == backend.Frozen:
		err = errFrozen
	default:
		err = b.remove(ctx, name)
	}
	if err == nil && checkName(name) == nil {
		err = b.forget(name)
	}
	if err != nil {
		return fmt.Errorf("delete machine %s: %w", name, err)
	}
	return nil
}

// Deleting fails for a moment while the virtual machine still writes.
const (
	deleteTries = 5
	deleteWait  = 200 * time.Millisecond
)

func (b *Backend) remove(ctx context.Context, name string) error {
	for try := 1; ; try++ {
		out, err := b.call(ctx, "machine", "delete", "--name", name, "-f")
		switch {
		case errors.Is(err, backend.ErrNotFound):
			return nil
		case err == nil && strings.Contains(out, "Cancelled"):
			return errors.New("smolvm machine delete: it asked for confirmation, got none, and did nothing")
		case err == nil:
			return b.confirmGone(ctx, name)
		case try == deleteTries || !strings.Contains(err.Error(), "Directory not empty"):
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), err)
		case <-time.After(deleteWait):
		}
	}
}

func (b *Backend) confirmGone(ctx context.Context, name string) error {
	st, err := b.status(ctx, name)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("the machine is there, %s", st.State)
	}
	return fmt.Errorf("smolvm machine delete succeeded, and yet: %w", err)
}
