package tasks

import (
	"context"
	"errors"
	"testing"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// fixed is a backend with one machine as it is, or none.
type fixed struct {
	backend.Backend
	status *backend.Status
}

func (fixed) Name() string { return "fixed" }

func (f fixed) Status(context.Context, string) (backend.Status, error) {
	if f.status == nil {
		return backend.Status{}, backend.ErrNotFound
	}
	return *f.status, nil
}

func TestReconcile(t *testing.T) {
	wanted := cache.NewRecipe(KindMachine).Key()
	labels := func(spec string) map[string]string {
		return map[string]string{backend.ProjectLabel: "p", backend.SpecLabel: spec}
	}
	same, other := labels(wanted.String()), labels("sha256:other")
	running := func(l map[string]string) *backend.Status {
		return &backend.Status{State: backend.Running, PID: 1, Labels: l}
	}
	state := func(s backend.State, l map[string]string) *backend.Status {
		return &backend.Status{State: s, Labels: l}
	}
	complete, half, kept := &Record{Complete: true}, &Record{}, &Record{Failure: "provision failed"}
	for name, c := range map[string]struct {
		status  *backend.Status
		record  *Record
		replace string
		ready   *Ready
		unknown bool // the key
		action  string
		refused bool
		fails   bool
	}{
		"absent":                        {action: ActionCreate},
		"absent, key unknown":           {unknown: true, action: ActionCreate},
		"matches":                       {status: running(same), record: complete, action: ActionNone},
		"matches, record lost":          {status: running(same), action: ActionUpdate},
		"matches, stopped":              {status: state(backend.Stopped, same), record: complete, action: ActionStart},
		"matches, broken":               {status: &backend.Status{State: backend.Broken, PID: 1, Labels: same}, record: complete, action: ActionStart},
		"matches, another probe":        {status: running(same), record: complete, ready: &Ready{TCP: 1}, action: ActionUpdate},
		"never completed":               {status: running(same), record: half, action: ActionReplace},
		"kept after a failure":          {status: running(same), record: kept, action: ActionReplace},
		"frozen":                        {status: state(backend.Frozen, other), record: complete, action: ActionNone},
		"differs, running":              {status: running(other), record: complete, action: ActionReplace, refused: true},
		"differs, running, always":      {status: running(other), record: complete, replace: ReplaceAlways, action: ActionReplace},
		"differs, stopped":              {status: state(backend.Stopped, other), record: complete, action: ActionReplace},
		"differs, broken but with life": {status: &backend.Status{State: backend.Broken, PID: 1, Labels: other}, record: complete, action: ActionReplace, refused: true},
		"differs, stopped, never":       {status: state(backend.Stopped, other), record: complete, replace: ReplaceNever, action: ActionReplace, refused: true},
		"running, key unknown":          {status: running(other), record: complete, unknown: true, action: ""},
		"stopped, key unknown":          {status: state(backend.Stopped, same), record: complete, unknown: true, action: ActionStart},
		"another project's":             {status: running(map[string]string{backend.ProjectLabel: "q"}), fails: true},
		"not ours":                      {status: running(nil), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := &Worker{Records: Records{Dir: t.TempDir()}}
			p := Machine{Name: "m", Project: "p", Replace: ReplaceIfStopped, Ready: c.ready}
			if c.replace != "" {
				p.Replace = c.replace
			}
			if c.record != nil {
				rec := *c.record
				rec.Machine.Name = "m"
				if err := w.Records.Put(&rec); err != nil {
					t.Fatal(err)
				}
			}
			key := wanted
			if c.unknown {
				key = cache.Key{}
			}
			d, err := w.reconcile(t.Context(), fixed{status: c.status}, p, key)
			if (err != nil) != c.fails || d.action != c.action || (d.refused != nil) != c.refused {
				t.Errorf("action %q, refused %v, error %v", d.action, d.refused, err)
			}
		})
	}
}

func TestRecordsAreForgotten(t *testing.T) {
	r := Records{Dir: t.TempDir()}
	if err := errors.Join(r.Put(&Record{Machine: Machine{Name: "m"}, Backend: "fixed"}), r.Delete("m"), r.Delete("m")); err != nil {
		t.Fatal(err)
	}
	if rec, err := r.Get("m"); err == nil {
		t.Errorf("a deleted record is %+v", rec)
	}
}
