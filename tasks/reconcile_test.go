package tasks

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
)

// fixed is a backend with one machine as it is, or none.
type fixed struct {
	backend.Backend
	status *backend.Status
}

func (fixed) Name() string { return BackendContainer }

func (f fixed) Status(context.Context, string) (backend.Status, error) {
	if f.status == nil {
		return backend.Status{}, backend.ErrNotFound
	}
	return *f.status, nil
}

// standing is a machine and the world around it, as it stands before a plan.
type standing struct {
	state    backend.State // empty: there is no machine
	pid      int
	record   string  // "complete", "half", "kept"; empty: it is lost
	labels   string  // empty: as bottlebuild sets them; "no pack": as an early version did; "not ours", "another's"
	replace  string  // empty: if-stopped
	is       Machine // what of the wanted machine differs from it
	recreate bool
}

var oldPack, newPack = cache.DigestOf([]byte("old")), cache.DigestOf([]byte("new"))

// judge returns what gives the verdict on a machine as it stands when it is to have
// a pack; zero: that is not known.
func judge(t *testing.T) func(s standing, pack cache.Digest) (graph.Verdict, error) {
	t.Helper()
	dir := t.TempDir()
	store, err := cache.View(filepath.Join(dir, "none"))
	if err != nil {
		t.Fatal(err)
	}
	be := &fixed{}
	w := &Worker{
		Store: store, Records: Records{Dir: dir},
		Backends: &Backends{Smolvm: able{}, Container: func(string) backend.Backend { return be }},
	}
	return func(s standing, pack cache.Digest) (graph.Verdict, error) {
		p, st, rec := s.machine()
		be.status = st
		err := w.Records.Delete(p.Name)
		if rec != nil {
			err = w.Records.Put(rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		spec := graph.Spec{Kind: KindMachine, Params: p}
		if !pack.IsZero() {
			spec.Inputs, spec.Known = graph.Inputs{p.Pack: cache.Output{Digest: pack}}, true
			spec.Key = machineRecipe(be, p, pack).Key()
		}
		return w.checkMachine(t.Context(), p, spec)
	}
}

// machine returns the wanted machine, that which there is, and its record.
func (s standing) machine() (Machine, *backend.Status, *Record) {
	full := func(p Machine) Machine {
		p.Name, p.Project, p.Pack, p.Backend, p.Replace = "m", "p", "bottle.m.pack", BackendContainer, ReplaceIfStopped
		return p
	}
	was, is := full(Machine{}), full(s.is)
	is.Recreate = s.recreate
	if s.replace != "" {
		is.Replace = s.replace
	}
	var st *backend.Status
	if s.state != "" {
		st = &backend.Status{State: s.state, PID: s.pid, Labels: map[string]string{
			backend.ProjectLabel: "p", backend.PackLabel: oldPack.String(), backend.SpecLabel: machineRecipe(fixed{}, was, oldPack).Key().String(),
		}}
		switch s.labels {
		case "no pack":
			delete(st.Labels, backend.PackLabel)
		case "not ours":
			st.Labels = nil
		case "another's":
			st.Labels[backend.ProjectLabel] = "q"
		}
	}
	var rec *Record
	if s.record != "" {
		rec = &Record{Machine: was, Backend: BackendContainer, Complete: s.record == "complete"}
		if s.record == "kept" {
			rec.Failure = "provision failed"
		}
	}
	return is, st, rec
}

func TestMachineVerdicts(t *testing.T) {
	other, probe := Machine{CPUs: 2}, Machine{Ready: &Ready{TCP: 1}}
	type says struct {
		decision string // with the action
		reasons  string
		kept     string // of the note that replace forbids it
	}
	const forbidden, maybeForbidden = "it no longer matches the bottle file", "if bottle.m.pack makes something else"
	judge := judge(t)
	for name, c := range map[string]struct {
		standing
		known, unknown says // with the pack that it has, and while that is not known
		fails          bool
	}{
		"absent": {
			known: says{"run create", "there is no machine m", ""}, unknown: says{"run create", "there is no machine m", ""},
		},
		"matches": {
			standing: standing{state: backend.Running, pid: 1, record: "complete"},
			known:    says{"hit none", "", ""}, unknown: says{"maybe replace", "", maybeForbidden},
		},
		"matches, always": {
			standing: standing{state: backend.Running, pid: 1, record: "complete", replace: ReplaceAlways},
			known:    says{"hit none", "", ""}, unknown: says{"maybe replace", "", ""},
		},
		"matches, record lost": {
			standing: standing{state: backend.Running, pid: 1, replace: ReplaceAlways},
			known:    says{"run update", "what bottlebuild knew of it was lost", ""},
			unknown:  says{"run update or replace", "what bottlebuild knew of it was lost", ""},
		},
		"matches, stopped": {
			standing: standing{state: backend.Stopped, record: "complete"},
			known:    says{"run start", "it is stopped", ""}, unknown: says{"run start or replace", "it is stopped", ""},
		},
		"matches, stopped, never": {
			standing: standing{state: backend.Stopped, record: "complete", replace: ReplaceNever},
			known:    says{"run start", "it is stopped", ""}, unknown: says{"run start or replace", "it is stopped", maybeForbidden},
		},
		"matches, broken": {
			standing: standing{state: backend.Broken, record: "complete"},
			known:    says{"run start", "it is failed; if it does not start, it is made anew", ""},
			unknown:  says{"run start or replace", "it is failed; if it does not start, it is made anew", ""},
		},
		"matches, broken but with life": {
			standing: standing{state: backend.Broken, pid: 1, record: "complete"},
			known:    says{"run start", "it is failed", ""}, unknown: says{"run start or replace", "it is failed", maybeForbidden},
		},
		"matches, another probe": {
			standing: standing{state: backend.Running, pid: 1, record: "complete", is: probe, replace: ReplaceAlways},
			known:    says{"run update", "ready changed", ""}, unknown: says{"run update or replace", "ready changed", ""},
		},
		"never completed": {
			standing: standing{state: backend.Running, pid: 1, record: "half", replace: ReplaceNever},
			known:    says{"run replace", "it was never completed", ""}, unknown: says{"run replace", "it was never completed", ""},
		},
		"kept after a failure": {
			standing: standing{state: backend.Running, pid: 1, record: "kept", is: other},
			known:    says{"run replace", "it was kept after a failure", ""}, unknown: says{"run replace", "it was kept after a failure", ""},
		},
		"frozen": {
			standing: standing{state: backend.Frozen, record: "complete", is: other},
			known:    says{"hit none", "it is frozen, and left alone", ""}, unknown: says{"hit none", "it is frozen, and left alone", ""},
		},
		"forced": {
			standing: standing{state: backend.Stopped, record: "complete", recreate: true},
			known:    says{"run replace", "forced", ""}, unknown: says{"run replace", "forced", ""},
		},
		"forced, running": {
			standing: standing{state: backend.Running, pid: 1, record: "complete", recreate: true},
			known:    says{"run replace", "forced", "it is to be made again"}, unknown: says{"run replace", "forced", "it is to be made again"},
		},
		"differs, running": {
			standing: standing{state: backend.Running, pid: 1, record: "complete", is: other},
			known:    says{"run replace", "cpus changed, which takes a new machine", forbidden},
			unknown:  says{"run replace", "cpus changed, which takes a new machine", forbidden},
		},
		"differs, running, always": {
			standing: standing{state: backend.Running, pid: 1, record: "complete", is: other, replace: ReplaceAlways},
			known:    says{"run replace", "cpus changed, which takes a new machine", ""},
			unknown:  says{"run replace", "cpus changed, which takes a new machine", ""},
		},
		"differs, stopped": {
			standing: standing{state: backend.Stopped, record: "complete", is: other},
			known:    says{"run replace", "cpus changed, which takes a new machine", ""},
			unknown:  says{"run replace", "cpus changed, which takes a new machine", ""},
		},
		"differs, stopped, never": {
			standing: standing{state: backend.Stopped, record: "complete", is: other, replace: ReplaceNever},
			known:    says{"run replace", "cpus changed, which takes a new machine", forbidden},
			unknown:  says{"run replace", "cpus changed, which takes a new machine", forbidden},
		},
		"differs, broken but with life": {
			standing: standing{state: backend.Broken, pid: 1, record: "complete", is: other},
			known:    says{"run replace", "cpus changed, which takes a new machine", forbidden},
			unknown:  says{"run replace", "cpus changed, which takes a new machine", forbidden},
		},
		"differs, record lost": {
			standing: standing{state: backend.Stopped, is: other},
			known:    says{"run replace", "it was made from another spec, of which no record is left", ""},
			unknown:  says{"run replace", "it was made from another spec, of which no record is left", ""},
		},
		"differs, its pack not told": {
			standing: standing{state: backend.Stopped, record: "complete", labels: "no pack", is: other},
			known:    says{"run replace", "cpus changed, which takes a new machine; the pack is new, which takes a new machine", ""},
			unknown:  says{"run start or replace", "it is stopped", ""},
		},
		"another project's": {standing: standing{state: backend.Running, labels: "another's"}, fails: true},
		"not ours":          {standing: standing{state: backend.Running, labels: "not ours"}, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			for pack, want := range map[cache.Digest]says{oldPack: c.known, {}: c.unknown} {
				v, err := judge(c.standing, pack)
				if (err != nil) != c.fails {
					t.Errorf("error %v", err)
				}
				if err != nil {
					continue
				}
				var reasons, notes []string
				for _, r := range v.Reasons {
					reasons = append(reasons, r.Text)
					if r.Cause == "" {
						t.Errorf("%q has no cause", r.Text)
					}
				}
				for _, r := range v.Notes {
					notes = append(notes, r.Text)
				}
				got := says{fmt.Sprintf("%s %s%s", v.Decision, v.Action, strings.Join(v.Actions, " or ")), strings.Join(reasons, "; "), want.kept}
				if note := strings.Join(notes, "; "); (note == "") != (want.kept == "") || !strings.Contains(note, want.kept) {
					got.kept = note
				}
				if diff := cmp.Diff(want, got, cmp.AllowUnexported(says{})); diff != "" {
					t.Errorf("pack known: %t (-want +got):\n%s", !pack.IsZero(), diff)
				}
			}
		})
	}
}

// TestMachineVerdictsHold holds what is said of a machine while its pack is not
// known against what is done when it is, in every combination.
func TestMachineVerdictsHold(t *testing.T) {
	outcomes := func(v graph.Verdict) []string { return append(slices.Clone(v.Actions), v.Action) }
	tried, judge := map[string]int{}, judge(t)
	each(func(s standing) {
		before, err := judge(s, cache.Digest{})
		if err != nil {
			t.Fatal(err)
		}
		taken := map[string]bool{}
		refused := false
		for _, pack := range []cache.Digest{oldPack, newPack} {
			v, err := judge(s, pack)
			if err != nil {
				t.Fatal(err)
			}
			if v.Decision == graph.Maybe || v.Action == "" || len(v.Actions) > 0 {
				t.Fatalf("%+v: with everything known the verdict is %+v", s, v)
			}
			switch {
			case before.Decision != graph.Maybe && v.Decision != before.Decision,
				v.Decision == graph.Run && !slices.Contains(outcomes(before), v.Action),
				len(v.Notes) > 0 && len(before.Notes) == 0:
				t.Fatalf("%+v: it was said %+v, and is %+v", s, before, v)
			}
			taken[v.Action] = true
			refused = refused || len(v.Notes) > 0
		}
		// Nothing is left open that is certain.
		if (before.Decision == graph.Maybe || len(before.Actions) > 0) && len(taken) != 2 && s.labels != "no pack" {
			t.Fatalf("%+v: it was said %+v, and it is always %v", s, before, taken)
		}
		if len(before.Notes) > 0 && !refused {
			t.Fatalf("%+v: nothing is refused, and it was said %+v", s, before)
		}
		tried[string(before.Decision)+" "+strings.Join(outcomes(before), " ")]++
	})
	want := []string{"hit none", "maybe replace", "run create", "run replace", "run start replace ", "run update replace "}
	for _, w := range want {
		if tried[w] == 0 {
			t.Errorf("no combination leads to %q: %v", w, tried)
		}
	}
}

// each calls do with every combination.
func each(do func(standing)) {
	do(standing{})
	for _, state := range []backend.State{backend.Created, backend.Running, backend.Stopped, backend.Broken, backend.Frozen} {
		for _, record := range []string{"", "complete", "half", "kept"} {
			for _, labels := range []string{"", "no pack"} {
				for _, replace := range []string{ReplaceNever, ReplaceIfStopped, ReplaceAlways} {
					for _, is := range []Machine{{}, {CPUs: 2}, {Ready: &Ready{TCP: 1}}, {CPUs: 2, Ready: &Ready{TCP: 1}}} {
						for _, recreate := range []bool{false, true} {
							s := standing{state: state, record: record, labels: labels, replace: replace, is: is, recreate: recreate}
							if state == backend.Running {
								s.pid = 1
							}
							do(s)
						}
					}
				}
			}
		}
	}
}

// TestForcesWithoutARecord: of a machine whose record is lost the cache may still
// know what it was made from.
func TestForcesWithoutARecord(t *testing.T) {
	w, _ := machineTest(t)
	be, was, is := fixed{}, Machine{Name: "m", CPUs: 1}, Machine{Name: "m", CPUs: 2}
	recipe := machineRecipe(be, was, oldPack)
	old := cache.Key{1}
	for _, e := range []*cache.Entry{
		{Key: recipe.Key(), Kind: KindMachine, Recipe: recipe.Text()},
		{Key: old, Kind: KindMachine, Recipe: "recipe 0 \"machine\"\ns \"cpus\" \"1\"\n"},
	} {
		must(t, w.Store.Put(e))
	}
	for name, c := range map[string]struct {
		spec  cache.Key
		cause graph.Cause
		text  string
	}{
		"known":         {recipe.Key(), graph.Changed, "cpus changed, which takes a new machine"},
		"of other keys": {old, graph.OtherKeys, "it was made by a version with other keys, which takes a new machine"},
		"not known":     {cache.Key{2}, graph.Changed, "it was made from another spec, of which no record is left"},
	} {
		got := w.forces(t.Context(), be, difference{spec: c.spec, pack: oldPack}, is, graph.Spec{Params: is})
		if len(got) != 1 || got[0].Cause != c.cause || got[0].Text != c.text {
			t.Errorf("%s: %+v", name, got)
		}
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
