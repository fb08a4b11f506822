package smolvm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// operation is one call of the driver's, and the steps of smolvm that it takes.
type operation struct {
	name  string
	steps []string
	// from is the state that the machine is in before: absent, created, running.
	from string
	do   func(context.Context, *rig, cache.Output) error
}

var operations = []operation{
	{"Preflight", []string{"version", "help"}, "absent", func(ctx context.Context, r *rig, _ cache.Output) error {
		_, err := r.Preflight(ctx)
		return err
	}},
	{"Create", []string{"status", "create"}, "absent", func(ctx context.Context, r *rig, pack cache.Output) error {
		return r.Create(ctx, backend.Spec{Name: "m", Labels: map[string]string{backend.SpecLabel: "spec"}}, pack)
	}},
	{"Start", []string{"status", "start"}, "created", func(ctx context.Context, r *rig, _ cache.Output) error { return r.Start(ctx, "m") }},
	{"Status", []string{"status"}, "created", func(ctx context.Context, r *rig, _ cache.Output) error {
		_, err := r.Status(ctx, "m")
		return err
	}},
	{"List", []string{"ls"}, "created", func(ctx context.Context, r *rig, _ cache.Output) error {
		list, err := r.List(ctx)
		if err == nil && (len(list) != 1 || list[0].Name != "m") {
			return errors.New("the machine is not listed")
		}
		return err
	}},
	{"Log", []string{"data-dir"}, "created", func(ctx context.Context, r *rig, _ cache.Output) error {
		_, err := r.Log(ctx, "m", 100)
		return err
	}},
	{"Exec", []string{"exec"}, "running", func(ctx context.Context, r *rig, _ cache.Output) error {
		code, err := r.Exec(ctx, "m", backend.Exec{Args: []string{"/bin/guest", "exit", "3"}})
		if err == nil && code != 3 {
			return errors.New("the command was not run")
		}
		return err
	}},
	{"CopyIn", []string{"cp"}, "running", func(ctx context.Context, r *rig, _ cache.Output) error {
		return r.CopyIn(ctx, "m", backend.File{Path: "/file", Content: []byte("x"), Mode: 0o644})
	}},
	{"Stop", []string{"status", "stop"}, "running", func(ctx context.Context, r *rig, _ cache.Output) error { return r.Stop(ctx, "m") }},
	{"Delete", []string{"status", "delete"}, "created", func(ctx context.Context, r *rig, _ cache.Output) error { return r.Delete(ctx, "m") }},
}

// fault is what a step is told to do, and the error that has to come of it.
type fault struct {
	name string
	is   error
	text string
}

var faults = []fault{
	{"fail", nil, "something went wrong"},
	{"nospace", syscall.ENOSPC, "No space left"},
	{"crash", nil, "killed"},
	{"hang", errStopped, ""}, // and the caller gives up
	{"lie", nil, ""},
	{"garbage", nil, ""},
	{"fail-late", nil, "something went wrong"},
	{"crash-late", nil, "killed"},
}

// harmless are lies that nobody can tell from the truth: smolvm says that it has
// written a file, or run a command that says nothing.
var harmless = map[string]bool{"cp:lie": true, "cp:garbage": true}

// TestFaults has every step of every operation go wrong in every way. There must
// be the right error, nothing half done may be left, and the same must work when
// the fault is gone.
func TestFaults(t *testing.T) {
	packer := newRig(t, settings{})
	guest, small := packer.guestPack(t), packer.smallPack(t)
	for _, op := range operations {
		pack := small
		if op.from == "running" {
			pack = guest
		}
		t.Run(op.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, settings{store: packer.store})
			for _, step := range op.steps {
				for _, f := range faults {
					if step == "exec" && strings.HasSuffix(f.name, "-late") {
						continue // the command's own code is the last that smolvm says
					}
					t.Run(step+":"+f.name, func(t *testing.T) { r.meets(t, op, pack, step, f) })
				}
			}
			r.bring(t, "absent", pack)
		})
	}
}

// meets has one step of an operation go wrong.
func (r *rig) meets(t *testing.T, op operation, pack cache.Output, step string, f fault) {
	name := step + ":" + f.name
	r.bring(t, op.from, pack)
	faulty := r.with(t, name)
	if step != "version" && step != "help" {
		faulty.found, faulty.flags = r.found, r.flags
	}
	err := faulty.attempt(t, op, pack, f.name == "hang")
	switch {
	case harmless[name]:
	case err == nil:
		t.Fatal("no error")
	case f.is != nil && !errors.Is(err, f.is), !strings.Contains(err.Error(), f.text):
		t.Errorf("error = %v, want one that is %v and says %q", err, f.is, f.text)
	}
	if op.name == "Create" {
		r.wantNothingHalfDone(t)
	}
	if op.from == "absent" || strings.HasSuffix(f.name, "-late") {
		r.bring(t, op.from, pack)
	}
	if err := op.do(t.Context(), r, pack); err != nil {
		t.Errorf("without the fault: %v", err)
	}
}

var errStopped = errors.New("stopped")

// attempt does the operation, and gives up when smolvm hangs.
func (r *rig) attempt(t *testing.T, op operation, pack cache.Output, hangs bool) error {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	if !hangs {
		return op.do(ctx, r, pack)
	}
	done := make(chan error, 1)
	go func() { done <- op.do(ctx, r, pack) }()
	if r.waitHanging(t, done) == 0 {
		return nil
	}
	cancel(errStopped)
	return <-done
}

// waitHanging waits until the fake hangs, and returns the number of a process to
// do with it; 0 if it does not.
func (r *rig) waitHanging(t *testing.T, done <-chan error) (pid int) {
	t.Helper()
	note := filepath.Join(r.data, "hanging")
	for {
		b, _ := os.ReadFile(note)
		if pid, _ := strconv.Atoi(string(b)); pid != 0 {
			os.Remove(note)
			return pid
		}
		select {
		case err := <-done:
			t.Errorf("it ended: %v", err)
			return 0
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// TestSilence has smolvm not answer, and nobody who gives up.
func TestSilence(t *testing.T) {
	r := newRig(t, settings{})
	r.mustCreate(t, backend.Spec{Name: "m"}, r.smallPack(t))
	for _, step := range []string{"version", "help", "status", "ls", "data-dir"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			faulty := r.with(t, step+":hang")
			faulty.cfg.Patience = time.Second
			_, err := faulty.Status(t.Context(), "m")
			if step == "ls" {
				_, err = faulty.List(t.Context())
			}
			if step == "data-dir" {
				_, err = faulty.Log(t.Context(), "m", 10)
			}
			if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "did not end within 1s") {
				t.Errorf("%v, want ErrUnavailable", err)
			}
		})
	}
}

// bring makes the machine be in a state.
func (r *rig) bring(t *testing.T, state string, pack cache.Output) {
	t.Helper()
	st, err := r.Status(t.Context(), "m")
	is := string(st.State)
	switch {
	case errors.Is(err, backend.ErrNotFound):
		is = "absent"
	case err != nil:
		t.Fatal(err)
	}
	if is == state {
		return
	}
	if state == "running" && is == string(backend.Stopped) || state == "running" && is == "created" {
		err = r.Start(t.Context(), "m")
	} else {
		err = r.Delete(t.Context(), "m")
		if err == nil && state != "absent" {
			err = r.Create(t.Context(), backend.Spec{Name: "m"}, pack)
		}
		if err == nil && state == "running" {
			err = r.Start(t.Context(), "m")
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantNothingHalfDone looks for temporary files, and for a record without its
// machine, which would name one that is not there.
func (r *rig) wantNothingHalfDone(t *testing.T) {
	t.Helper()
	if left, err := os.ReadDir(filepath.Join(r.store.Dir(), "tmp")); err != nil || len(left) != 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob(filepath.Join(r.cfg.StateDir, "machines", "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) > len(list) {
		t.Errorf("%d directories of machines, and %d machines", len(dirs), len(list))
	}
}
