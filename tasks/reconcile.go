package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
)

// The actions on machines.
const (
	ActionCreate  = "create"
	ActionStart   = "start"
	ActionReplace = "replace"
	ActionUpdate  = "update"
	ActionNone    = "none"
)

// difference is what separates a machine as it is from what is wanted.
type difference struct {
	action string
	reason string // why; empty for a replacement because of the spec, which the recipes explain
	cause  graph.Cause
	// refused says why the action must not be taken.
	refused error
}

// reconcile compares the machine as it is with the wanted one, whose spec hash
// is key; a zero key is one that is not known yet, and then only an action that
// is needed whatever it will be is returned, else "".
func (w *Worker) reconcile(ctx context.Context, be backend.Backend, p Machine, key cache.Key) (difference, error) {
	st, err := be.Status(ctx, p.Name)
	if errors.Is(err, backend.ErrNotFound) {
		return difference{action: ActionCreate, cause: CauseMachineLost, reason: "there is no machine " + p.Name}, nil
	}
	if err != nil {
		return difference{}, err
	}
	owner, ok := st.Labels[backend.ProjectLabel]
	if !ok {
		return difference{}, fmt.Errorf("there is a machine %s already, and bottlebuild did not make it: choose another name, or delete it with %s", p.Name, be.Name())
	}
	if owner != p.Project {
		return difference{}, fmt.Errorf("there is a machine %s already, declared by %s: choose another name, or remove it with: bottlebuild down %s", p.Name, owner, p.Name)
	}
	rec, err := w.Records.Get(p.Name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return difference{}, err
	}
	switch {
	case rec != nil && !rec.Complete:
		return difference{action: ActionReplace, cause: CauseMachineIncomplete, reason: "it was never completed"}, nil
	case st.State == backend.Frozen:
		return difference{action: ActionNone, reason: "it is frozen"}, nil
	case p.Recreate:
		return difference{action: ActionReplace, cause: graph.Forced, reason: "forced", refused: mayReplace(p, st)}, nil
	case key.IsZero() && st.State == backend.Running:
		return difference{}, nil
	case key.IsZero():
		return difference{action: ActionStart, cause: CauseMachineStopped, reason: "it is " + string(st.State)}, nil
	case st.Labels[backend.SpecLabel] != key.String():
		return difference{action: ActionReplace, refused: mayReplace(p, st)}, nil
	case st.State != backend.Running:
	case rec != nil && !reflect.DeepEqual(rec.Machine.Ready, p.Ready):
		return difference{action: ActionUpdate, cause: CauseProbe, reason: "ready changed"}, nil
	default:
		return difference{action: ActionNone}, nil
	}
	return difference{action: ActionStart, cause: CauseMachineStopped, reason: "it is " + string(st.State)}, nil
}

// mayReplace says why a machine with a disk that may have been used must be kept.
func mayReplace(p Machine, st backend.Status) error {
	advice := "it no longer matches the bottle file, and replacing it discards its disk"
	if p.Recreate {
		advice = "it is to be made again, which discards its disk"
	}
	switch {
	case p.Replace == ReplaceAlways, p.Replace == ReplaceIfStopped && st.State != backend.Running && st.PID == 0:
		return nil
	case p.Replace == ReplaceNever:
		return fmt.Errorf("machine %s: %s, which replace = %q forbids: remove it with: bottlebuild down %s", p.Name, advice, p.Replace, p.Name)
	}
	return fmt.Errorf("machine %s: %s, which replace = %q forbids while it runs: stop it with: bottlebuild stop %s (or set replace = %q)", p.Name, advice, p.Replace, p.Name, ReplaceAlways)
}

func (w *Worker) checkMachine(ctx context.Context, p Machine, s graph.Spec) (graph.Verdict, error) {
	be, err := w.Backends.Named(ctx, p.Backend, p.Runtime)
	if err != nil {
		return graph.Verdict{}, err
	}
	d, err := w.reconcile(ctx, be, p, s.Key)
	if err != nil {
		return graph.Verdict{}, err
	}
	v := graph.Verdict{Decision: graph.Run, Action: d.action}
	switch d.action {
	case "":
		v.Decision = graph.Maybe
	case ActionNone:
		v.Decision, v.Output = graph.Hit, machineOutput(be, p, s.Key)
	}
	if d.reason != "" {
		v.Reasons = []graph.Reason{{Cause: d.cause, Component: "machine", Text: d.reason}}
	}
	if d.refused != nil {
		v.Notes = []graph.Reason{{Cause: CauseMachineKept, Component: "machine", Text: d.refused.Error()}}
	}
	return v, nil
}

func machineOutput(be backend.Backend, p Machine, key cache.Key) cache.Output {
	return cache.Output{
		Digest: cache.DigestOf([]byte(p.Name + "\x00" + key.String())),
		Attrs:  map[string]string{"name": p.Name, "backend": be.Name(), "spec": key.String()},
	}
}
