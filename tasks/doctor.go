package tasks

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"bottlebuild/tasks/backend"
)

// FindingStatus says what a finding amounts to.
type FindingStatus string

// The statuses.
const (
	FindingOK       FindingStatus = "ok"
	FindingMissing  FindingStatus = "missing"  // it cannot be used as things are
	FindingLeftover FindingStatus = "leftover" // it is of no use to anyone, and can be removed
)

// Finding is what a look at one part of this host has found. Text says, of what
// is missing, how to mend it.
type Finding struct {
	Part   string        `json:"part"` // "smolvm", "container runc", "machine x"
	Status FindingStatus `json:"status"`
	Text   string        `json:"text"`
}

// ExamineBackends looks at what each backend has and lacks here: smolvm, the
// default runtime of the container backend, and each other one that is installed.
func (w *Worker) ExamineBackends(ctx context.Context) []Finding {
	findings := examine(ctx, "smolvm", w.Backends.Smolvm)
	for _, runtime := range []string{DefaultRuntime, "crun", "runsc", "krun", "kata-runtime"} {
		if _, err := exec.LookPath(runtime); err == nil || runtime == DefaultRuntime {
			findings = append(findings, examine(ctx, "container "+runtime, w.Backends.container(runtime))...)
		}
	}
	return findings
}

func examine(ctx context.Context, part string, be backend.Backend) []Finding {
	info, err := be.Preflight(ctx)
	if err == nil {
		return []Finding{{part, FindingOK, "version " + info.Version}}
	}
	var findings []Finding
	for _, err := range parts(err) {
		findings = append(findings, Finding{part, FindingMissing, err.Error()})
	}
	return findings
}

// parts returns the errors that err joins, without what says only that they keep
// a backend from being used.
func parts(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range many.Unwrap() {
			if e != backend.ErrUnavailable { // the mark itself, not what it marks
				all = append(all, parts(e)...)
			}
		}
		return all
	}
	return []error{err}
}

// lockPatience is how long a machine must be in the hands of nobody to be taken
// for left behind.
const lockPatience = 200 * time.Millisecond

// Leftovers finds what runs that were killed have left of machines: those that
// were never completed and that nobody works on. Where remove is set they are
// removed, and the finding says so.
func (w *Worker) Leftovers(ctx context.Context, remove bool) ([]Finding, error) {
	names, err := w.Records.Names()
	if err != nil {
		return nil, err
	}
	var findings []Finding
	var errs []error
	for _, name := range names {
		f, err := w.leftover(ctx, name, remove)
		if err != nil {
			errs = append(errs, err)
		}
		if f != nil {
			findings = append(findings, *f)
		}
	}
	return findings, errors.Join(errs...)
}

// CutOff reports whether the set-up of a machine was cut off: it is not complete,
// was not kept after a failure, and nobody works on it.
func (w *Worker) CutOff(ctx context.Context, m MachineStatus) bool {
	if m.Record == nil || m.Record.Complete || m.Record.Failure != "" {
		return false
	}
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	unlock, err := w.Records.Lock(wait, m.Name)
	if err != nil {
		return false
	}
	defer unlock()
	rec, err := w.Records.Get(m.Name) // as whoever had it until now has left it
	return err == nil && !rec.Complete && rec.Failure == ""
}

func (w *Worker) leftover(ctx context.Context, name string, remove bool) (*Finding, error) {
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	unlock, err := w.Records.Lock(wait, name)
	if err != nil {
		return nil, ctx.Err() // somebody works on it
	}
	defer unlock()
	be, rec, err := w.find(ctx, name)
	if errors.Is(err, backend.ErrNotFound) {
		return nil, nil
	}
	if err != nil || rec == nil || rec.Complete {
		return nil, err
	}
	f := &Finding{"machine " + name, FindingLeftover, "it was never completed"}
	if rec.Failure != "" {
		f.Text = "it was kept for a look at it, since it failed"
	}
	if !remove {
		return f, nil
	}
	if err := be.Delete(ctx, name); err != nil {
		return f, fmt.Errorf("remove machine %s: %w", name, err)
	}
	f.Text += "; removed"
	return f, w.Records.Delete(name)
}
