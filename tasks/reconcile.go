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

// LikeAction returns the actions that take about as long as one does, that one
// first. To replace a machine is to create one, after another was deleted.
func LikeAction(action string) []string {
	switch action {
	case ActionCreate:
		return []string{ActionCreate, ActionReplace}
	case ActionReplace:
		return []string{ActionReplace, ActionCreate}
	}
	return []string{action}
}

// difference is what separates a machine as it is from what is wanted.
type difference struct {
	action string
	reason string // why; empty for a replacement because of the spec
	cause  graph.Cause
	// open is set while the key is not known: the action is what will be done if the
	// machine's pack comes out as it is; else the machine is replaced.
	open   bool
	record *Record      // what is remembered of the machine; nil if that is lost
	spec   cache.Key    // that the machine was made from; zero if not known
	pack   cache.Digest // of the pack that it was made from; zero if not known
	// refused says why the machine must not be replaced, which it has to be, or if
	// open may have to be.
	refused error
}

// reconcile compares the machine as it is with the wanted one, whose spec hash
// is key; a zero key is one that is not known yet.
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
	// Of a machine whose labels say nothing, nothing is known.
	d.spec, _ = cache.ParseKey(st.Labels[backend.SpecLabel])
	d.pack, _ = cache.ParseDigest(st.Labels[backend.PackLabel])
	wanted := key
	if key.IsZero() { // if that differs even with the pack that the machine has, it does with any
		wanted = d.spec
		if !d.pack.IsZero() {
			wanted = machineRecipe(be, p, d.pack).Key()
		}
	}
	switch {
	case rec != nil && rec.Failure != "":
		d.action, d.cause, d.reason = ActionReplace, CauseMachineIncomplete, "it was kept after a failure"
	case rec != nil && !rec.Complete:
		d.action, d.cause, d.reason = ActionReplace, CauseMachineIncomplete, "it was never completed"
	case st.State == backend.Frozen:
		d.action, d.cause, d.reason = ActionNone, CauseMachineStopped, "it is frozen, and left alone"
	case p.Recreate:
		d.action, d.cause, d.reason = ActionReplace, graph.Forced, "forced"
		d.refused = mayReplace(p, st, "it is to be made again, which discards its disk")
	case d.spec != wanted:
		d.action = ActionReplace
		d.refused = mayReplace(p, st, "it no longer matches the bottle file, and replacing it discards its disk")
	default:
		d.keep(p, st)
		if d.open = key.IsZero(); d.open {
			d.refused = mayReplace(p, st, "if "+p.Pack+" makes something else, it no longer matches that, and replacing it discards its disk")
		}
	}
	return d, nil
}

// keep finds what a machine lacks that need not be replaced.
func (d *difference) keep(p Machine, st backend.Status) {
	d.action = ActionNone
	switch {
	case st.State != backend.Running:
		d.action, d.cause, d.reason = ActionStart, CauseMachineStopped, "it is "+string(st.State)
		if st.Note != "" {
			d.reason += ": " + st.Note
		}
		if st.State == backend.Broken && mayReplace(p, st, "") == nil {
			d.reason += "; if it does not start, it is made anew"
		}
	case d.record == nil:
		d.action, d.cause, d.reason = ActionUpdate, CauseProbe, "what bottlebuild knew of it was lost"
	default:
		if changed := changedInPlace(d.record.Machine, p); len(changed) > 0 {
			d.action, d.cause, d.reason = ActionUpdate, CauseProbe, strings.Join(changed, ", ")+" changed"
		}
	}
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

// mayReplace says why a machine with a disk that may have been used must be kept;
// because is why it is to be replaced.
func mayReplace(p Machine, st backend.Status, because string) error {
	switch {
	case p.Replace == ReplaceAlways, p.Replace == ReplaceIfStopped && st.State != backend.Running && st.PID == 0:
		return nil
	case p.Replace == ReplaceNever:
		return fmt.Errorf("machine %s: %s, which replace = %q forbids: remove it with: bottlebuild down %s", p.Name, because, p.Replace, p.Name)
	}
	return fmt.Errorf("machine %s: %s, which replace = %q forbids while it runs: stop it with: bottlebuild stop %s (or set replace = %q)", p.Name, because, p.Replace, p.Name, ReplaceAlways)
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
	// Whatever the cache has, a machine that is there is looked at itself.
	v := graph.Verdict{Decision: graph.Run, Action: d.action, OfWorld: d.action != ActionCreate}
	switch {
	case d.open && d.action == ActionNone:
		v.Decision, v.Action = graph.Maybe, ActionReplace
	case d.open:
		v.Action, v.Actions = "", []string{d.action, ActionReplace}
	case d.action == ActionNone:
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
	was, err := w.madeFrom(be, d)
	if err != nil {
		return []graph.Reason{{Cause: graph.OtherKeys, Component: "schema", Text: "it was made by a version with other keys, which takes a new machine"}}
	}
	pack := s.Inputs[p.Pack].Digest
	if pack.IsZero() {
		pack = d.pack
	}
	var reasons []graph.Reason
	if was != nil {
		explain := w.Explain(ctx, s)
		for _, c := range cache.Diff(was, machineRecipe(be, p, pack)) {
			for _, r := range explain(c) {
				r.Text += ", which takes a new machine"
				reasons = append(reasons, r)
			}
		}
	}
	if len(reasons) == 0 {
		return []graph.Reason{{Cause: graph.Changed, Component: "machine", Text: "it was made from another spec, of which no record is left"}}
	}
	return reasons
}

// madeFrom returns the recipe that a machine was made from, as far as that can
// still be told: nil if it cannot. The error is that it cannot be compared.
func (w *Worker) madeFrom(be backend.Backend, d difference) (*cache.Recipe, error) {
	var recorded *cache.Recipe
	if d.record != nil {
		recorded = machineRecipe(be, d.record.Machine, d.pack)
		if recorded.Key() == d.spec {
			return recorded, nil
		}
	}
	if text, err := w.Store.Recipe(d.spec); err == nil {
		return cache.ParseRecipe(text)
	}
	return recorded, nil
}

func machineOutput(be backend.Backend, p Machine, key cache.Key) cache.Output {
	return cache.Output{
		Digest: cache.DigestOf([]byte(p.Name + "\x00" + key.String())),
		Attrs:  map[string]string{"name": p.Name, "backend": be.Name(), "spec": key.String()},
	}
}
