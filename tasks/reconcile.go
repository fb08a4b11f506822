package tasks

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strings"

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
	reason string // why; empty for a replacement because of the spec
	cause  graph.Cause
	// record is what is remembered of the machine; nil if that is lost.
	record *Record
	pack   cache.Digest // of the pack that the machine was made from; zero if not known
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
	d := difference{record: rec}
	d.pack, _ = cache.ParseDigest(st.Labels[backend.PackLabel]) // of a machine that lacks it nothing is known
	switch {
	case rec != nil && rec.Failure != "":
		d.action, d.cause, d.reason = ActionReplace, CauseMachineIncomplete, "it was kept after a failure"
	case rec != nil && !rec.Complete:
		d.action, d.cause, d.reason = ActionReplace, CauseMachineIncomplete, "it was never completed"
	case st.State == backend.Frozen:
		d.action, d.reason = ActionNone, "it is frozen"
	case p.Recreate:
		d.action, d.cause, d.reason, d.refused = ActionReplace, graph.Forced, "forced", mayReplace(p, st)
	case key.IsZero() && st.State == backend.Running: // that depends
	case !key.IsZero() && st.Labels[backend.SpecLabel] != key.String():
		d.action, d.refused = ActionReplace, mayReplace(p, st)
	case st.State != backend.Running:
		d.action, d.cause, d.reason = ActionStart, CauseMachineStopped, "it is "+string(st.State)
		if st.Note != "" {
			d.reason += ": " + st.Note
		}
	case rec == nil:
		d.action, d.cause, d.reason = ActionUpdate, CauseProbe, "what bottlebuild knew of it was lost"
	default:
		d.action = ActionNone
		if changed := changedInPlace(rec.Machine, p); len(changed) > 0 {
			d.action, d.cause, d.reason = ActionUpdate, CauseProbe, strings.Join(changed, ", ")+" changed"
		}
	}
	return d, nil
}

// changedInPlace names what differs of that which needs no other machine, and
// has to be tried or remembered anew.
func changedInPlace(was, is Machine) []string {
	var changed []string
	if !reflect.DeepEqual(was.Ready, is.Ready) {
		changed = append(changed, "ready")
	}
	if !slices.EqualFunc(was.Checks, is.Checks, func(a, b Check) bool { return reflect.DeepEqual(a, b) }) {
		changed = append(changed, "check")
	}
	if !maps.EqualFunc(was.Secrets, is.Secrets, func(a, b SecretRef) bool { return reflect.DeepEqual(a, b) }) {
		changed = append(changed, "secrets") // where they are read from
	}
	if is.SelfTest && !was.SelfTest {
		changed = append(changed, "self_test")
	}
	return changed
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
	switch {
	case d.reason != "":
		v.Reasons = []graph.Reason{{Cause: d.cause, Component: "machine", Text: d.reason}}
	case d.action == ActionReplace:
		v.Reasons = w.forces(ctx, be, d, p, s)
	}
	if d.refused != nil {
		v.Notes = []graph.Reason{{Cause: CauseMachineKept, Component: "machine", Text: d.refused.Error()}}
	}
	return v, nil
}

// forces says which attributes of a machine have changed that cannot be changed
// in one that exists. It compares with the machine itself, which need not be the
// last that this bottle file asked for.
func (w *Worker) forces(ctx context.Context, be backend.Backend, d difference, p Machine, s graph.Spec) []graph.Reason {
	if d.record == nil {
		return nil // the recipes that the cache has may explain it
	}
	is := machineRecipe(be, p, s.Inputs[p.Pack].Digest)
	var reasons []graph.Reason
	for _, c := range cache.Diff(machineRecipe(be, d.record.Machine, d.pack), is) {
		for _, r := range w.Explain(ctx, s, c) {
			r.Text += ", which takes a new machine"
			reasons = append(reasons, r)
		}
	}
	return reasons
}

func machineOutput(be backend.Backend, p Machine, key cache.Key) cache.Output {
	return cache.Output{
		Digest: cache.DigestOf([]byte(p.Name + "\x00" + key.String())),
		Attrs:  map[string]string{"name": p.Name, "backend": be.Name(), "spec": key.String()},
	}
}
