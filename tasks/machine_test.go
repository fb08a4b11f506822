package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/progress"
)

// remembering is a backend whose machines are in memory, and whose commands are
// the test's.
type remembering struct {
	backend.Backend
	mu       sync.Mutex
	machines map[string]backend.Status
	calls    []string
	// command runs one; nil: all succeed.
	command func(ctx context.Context, e backend.Exec) int
	// starts fails a start; nil: all succeed.
	starts func(backend.Status) error
	// stops is called by a stop, unless nil.
	stops func()
}

func (r *remembering) Name() string                { return BackendContainer }
func (r *remembering) Validate(backend.Spec) error { return nil }
func (r *remembering) Preflight(context.Context) (backend.Info, error) {
	return backend.Info{Name: "memory"}, nil
}

func (r *remembering) call(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
}

func (r *remembering) set(name string, st backend.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.machines[name] = st
}

func (r *remembering) Create(_ context.Context, s backend.Spec, _ cache.Output) error {
	r.call("create %s", s.Name)
	r.set(s.Name, backend.Status{Name: s.Name, State: backend.Created, Labels: s.Labels})
	return nil
}

func (r *remembering) state(name string, s backend.State) error {
	st, err := r.Status(context.Background(), name)
	if err == nil {
		st.State = s
		r.set(name, st)
	}
	return err
}

func (r *remembering) Start(_ context.Context, name string) error {
	r.call("start %s", name)
	if st, err := r.Status(context.Background(), name); err == nil && r.starts != nil {
		if err := r.starts(st); err != nil {
			return err
		}
	}
	return r.state(name, backend.Running)
}

func (r *remembering) Stop(_ context.Context, name string) error {
	r.call("stop %s", name)
	if r.stops != nil {
		r.stops()
	}
	return r.state(name, backend.Stopped)
}

func (r *remembering) Delete(_ context.Context, name string) error {
	r.call("delete %s", name)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.machines, name)
	return nil
}

func (r *remembering) Status(_ context.Context, name string) (backend.Status, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	st, ok := r.machines[name]
	if !ok {
		return st, backend.ErrNotFound
	}
	return st, nil
}

func (r *remembering) Log(context.Context, string, int64) ([]byte, error) { return nil, nil }

func (r *remembering) Exec(ctx context.Context, _ string, e backend.Exec) (int, error) {
	r.call("exec %s", strings.Join(e.Args, " "))
	if r.command == nil {
		return 0, nil
	}
	code := r.command(ctx, e)
	return code, ctx.Err()
}

// machineTest is a worker over a backend in memory.
func machineTest(t *testing.T) (*Worker, *remembering) {
	t.Helper()
	be := &remembering{machines: map[string]backend.Status{}}
	store, err := cache.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return &Worker{
		Store:    store,
		Records:  Records{Dir: t.TempDir()},
		Backends: &Backends{Smolvm: able{}, Container: func(string) backend.Backend { return be }},
		Progress: func(string) progress.Sink { return progress.Discard{} },
		Secret: func(_ context.Context, ref SecretRef) ([]byte, error) {
			if ref.Env == "" {
				return nil, errors.New("it is not set")
			}
			return []byte("value of " + ref.Env + "\n"), nil
		},
	}, be
}

func (w *Worker) runTest(ctx context.Context, p Machine) error {
	p.Name, p.Project, p.Backend, p.Pack = "m", "p", BackendContainer, "pack"
	if p.Replace == "" {
		p.Replace = ReplaceIfStopped
	}
	be, err := w.Backends.Named(ctx, p.Backend, p.Runtime)
	if err != nil {
		return err
	}
	params, err := json.Marshal(p)
	if err != nil {
		return err
	}
	_, err = w.Execute(ctx, graph.Work{Address: "bottle.m.machine", Kind: KindMachine, Params: params, Key: machineRecipe(be, p, cache.Digest{}).Key()})
	return err
}

// TestProvision has commands fail in the ways that a bottle file provides for.
func TestProvision(t *testing.T) {
	step := func(exec string) Provision { return Provision{Exec: []string{exec}} }
	patient := func(exec string, retries int) Provision { p := step(exec); p.Retries = retries; return p }
	going := func(exec string) Provision { p := step(exec); p.ContinueOnError = true; return p }
	for name, c := range map[string]struct {
		machine Machine
		calls   []string // commands
		err     string
		kept    bool
	}{
		"in order, then the checks": {
			machine: Machine{Provision: []Provision{step("one"), step("two")}, Checks: []Check{{Name: "c", Exec: []string{"three"}}}, Ready: &Ready{Exec: []string{"ready"}, Timeout: time.Minute, Interval: time.Minute}},
			calls:   []string{"one", "two", "ready", "three"},
		},
		"the first failure ends it": {
			machine: Machine{Provision: []Provision{step("fail"), step("two")}},
			calls:   []string{"fail"}, err: `machine m: provision "fail": exit code 3; it printed:` + "\n    because",
		},
		"retried": {machine: Machine{Provision: []Provision{patient("second", 2)}}, calls: []string{"second", "second"}},
		"retried in vain": {
			machine: Machine{Provision: []Provision{patient("fail", 1)}}, calls: []string{"fail", "fail"}, err: "2 attempts, the last: exit code 3",
		},
		"goes on": {machine: Machine{Provision: []Provision{going("fail"), step("two")}}, calls: []string{"fail", "two"}},
		"takes too long": {
			machine: Machine{Provision: []Provision{{Exec: []string{"hang"}, Timeout: time.Millisecond}}}, calls: []string{"hang"}, err: "it did not end within 1ms",
		},
		"a check fails": {
			machine: Machine{Checks: []Check{{Name: "home", Exec: []string{"fail"}}}}, calls: []string{"fail"},
			err: `machine m: check "home": "fail": exit code 3; it printed:` + "\n    because",
		},
		"a check fails, and it is kept": {
			machine: Machine{OnError: OnErrorKeep, Checks: []Check{{Name: "home", Exec: []string{"fail"}}}}, calls: []string{"fail"},
			err: "bottlebuild shell m", kept: true,
		},
		"a secret is missing": {
			machine: Machine{Provision: []Provision{step("one")}, Secrets: map[string]SecretRef{"A": {Name: "a"}}}, err: "machine m: secret.a: it is not set",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, be := machineTest(t)
			tries := 0
			be.command = func(ctx context.Context, e backend.Exec) int {
				switch tries++; {
				case e.Args[0] == "fail", e.Args[0] == "second" && tries == 1:
					fmt.Fprintln(e.Stdout, "because")
					return 3
				case e.Args[0] == "hang":
					<-ctx.Done()
				}
				return 0
			}
			err := w.runTest(t.Context(), c.machine)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			var calls []string
			for _, call := range be.calls {
				if exec, ok := strings.CutPrefix(call, "exec "); ok {
					calls = append(calls, exec)
				}
			}
			if diff := cmp.Diff(c.calls, calls); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			_, there := be.machines["m"]
			if want := c.err == "" || c.kept; there != want {
				t.Errorf("the machine is there: %t, want %t", there, want)
			}
			rec, rerr := w.Records.Get("m")
			switch {
			case there && (rerr != nil || rec.Complete != (c.err == "") || (rec.Failure != "") != c.kept):
				t.Errorf("record %+v, %v", rec, rerr)
			case !there && !errors.Is(rerr, fs.ErrNotExist):
				t.Errorf("record of a machine that is gone: %+v, %v", rec, rerr)
			}
		})
	}
}

// TestKeptMachineIsReplaced has the run after a failure start anew.
func TestKeptMachineIsReplaced(t *testing.T) {
	w, be := machineTest(t)
	be.command = func(context.Context, backend.Exec) int { return 1 }
	p := Machine{OnError: OnErrorKeep, Provision: []Provision{{Exec: []string{"x"}}}}
	if err := w.runTest(t.Context(), p); err == nil {
		t.Fatal("no error")
	}
	be.calls, be.command = nil, nil
	if err := w.runTest(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"delete m", "create m", "start m", "exec x"}, be.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestInterruptedMachineIsNotKept: who interrupts a run wants no machine of it.
func TestInterruptedMachineIsNotKept(t *testing.T) {
	w, be := machineTest(t)
	ctx, cancel := context.WithCancel(t.Context())
	be.command = func(context.Context, backend.Exec) int { cancel(); return 1 }
	if err := w.runTest(ctx, Machine{OnError: OnErrorKeep, Provision: []Provision{{Exec: []string{"x"}}}}); err == nil {
		t.Fatal("no error")
	}
	if len(be.machines) > 0 {
		t.Errorf("machines: %v", be.machines)
	}
}

// TestDeletedBetweenPlanAndRun: what is planned is looked at again before it is done.
func TestDeletedBetweenPlanAndRun(t *testing.T) {
	w, be := machineTest(t)
	p := Machine{}
	if err := w.runTest(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		meanwhile func()
		calls     []string
	}{
		"nothing":  {func() {}, nil},
		"deleted":  {func() { be.Delete(t.Context(), "m") }, []string{"delete m", "create m", "start m"}},
		"stopped":  {func() { be.Stop(t.Context(), "m") }, []string{"stop m", "start m"}},
		"replaced": {func() { w.Down(t.Context(), "m", false); w.runTest(t.Context(), p) }, []string{"delete m", "create m", "start m"}},
	} {
		t.Run(name, func(t *testing.T) {
			be.calls = nil
			c.meanwhile()
			if err := w.runTest(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.calls, be.calls); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestInPlace changes what needs no other machine.
func TestInPlace(t *testing.T) {
	base := func() Machine {
		return Machine{
			Secrets: map[string]SecretRef{"A": {Name: "a", Env: "A"}}, Checks: []Check{{Name: "c", Exec: []string{"check"}}},
			Provision: []Provision{{Exec: []string{"once"}}},
		}
	}
	for name, c := range map[string]struct {
		change func(*Machine)
		calls  []string
	}{
		"nothing":  {func(*Machine) {}, nil},
		"replace":  {func(p *Machine) { p.Replace = ReplaceAlways }, nil},
		"on_error": {func(p *Machine) { p.OnError = OnErrorKeep }, nil},
		"retries":  {func(p *Machine) { p.Provision[0].Retries = 3 }, nil},
		"ready": {func(p *Machine) {
			p.Ready = &Ready{Exec: []string{"ready"}, Timeout: time.Minute, Interval: time.Second}
		}, []string{"start m", "exec ready", "exec check"}},
		"check":                   {func(p *Machine) { p.Checks[0].Exec = []string{"other"} }, []string{"start m", "exec other"}},
		"where a secret is from":  {func(p *Machine) { p.Secrets["A"] = SecretRef{Name: "a", Env: "B"} }, []string{"start m", "exec check"}},
		"no check and no secrets": {func(p *Machine) { p.Checks = nil }, []string{"start m"}},
	} {
		t.Run(name, func(t *testing.T) {
			w, be := machineTest(t)
			if err := w.runTest(t.Context(), base()); err != nil {
				t.Fatal(err)
			}
			be.calls = nil
			p := base()
			c.change(&p)
			if err := w.runTest(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.calls, be.calls); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestEnvironment has each kind of variable arrive where it may stand.
func TestEnvironment(t *testing.T) {
	w, be := machineTest(t)
	var got backend.Exec
	be.command = func(_ context.Context, e backend.Exec) int {
		fmt.Fprint(e.Stdout, "the value of SOURCE is seen by nobody")
		got = e
		return 1
	}
	p := Machine{
		Env: map[string]string{"PLAIN": "1", "SENSITIVE": "2", "OVER": "3"}, Sensitive: []string{"env.SENSITIVE"}, Workdir: "/w",
		Secrets:   map[string]SecretRef{"SECRET": {Name: "s", Env: "SOURCE"}, "OVER2": {Name: "t", Env: "T"}},
		Provision: []Provision{{Exec: []string{"x"}, Env: map[string]string{"OVER": "4", "OVER2": "5"}}},
	}
	err := w.runTest(t.Context(), p)
	if err == nil || strings.Contains(err.Error(), "value of SOURCE") || !strings.Contains(err.Error(), "the *** is seen") {
		t.Errorf("error %v", err)
	}
	want := backend.Exec{
		Args: []string{"x"}, User: "0", Workdir: "/w",
		Env:       map[string]string{"PLAIN": "1", "OVER": "4", "OVER2": "5"},
		SecretEnv: map[string]string{"SENSITIVE": "2", "SECRET": "value of SOURCE"},
	}
	got.Stdout, got.Stderr = nil, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestLastLine: what is shown after a command's output begins a line.
func TestLastLine(t *testing.T) {
	for printed, want := range map[string]string{"": "", "a": "a\n", "a\n": "a\n", "a\nb": "a\nb\n"} {
		w, be := machineTest(t)
		be.command = func(_ context.Context, e backend.Exec) int { fmt.Fprint(e.Stdout, printed); return 0 }
		var log strings.Builder
		if err := w.guest(be, Machine{}).succeed(t.Context(), backend.Exec{Args: []string{"x"}}, &log, 10); err != nil || log.String() != want {
			t.Errorf("%q is shown as %q, %v", printed, log.String(), err)
		}
	}
}

// TestExecIn passes the machine's environment again, and reads secrets anew.
func TestExecIn(t *testing.T) {
	w, be := machineTest(t)
	p := Machine{Env: map[string]string{"A": "1"}, User: "node", Secrets: map[string]SecretRef{"S": {Name: "s", Env: "S"}}}
	if err := w.runTest(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	var got backend.Exec
	be.command = func(_ context.Context, e backend.Exec) int { got = e; return 7 }
	code, err := w.ExecIn(t.Context(), "m", backend.Exec{Args: []string{"x"}, Env: map[string]string{"B": "2"}}, false)
	if code != 7 || err != nil {
		t.Errorf("ExecIn = %d, %v", code, err)
	}
	want := backend.Exec{Args: []string{"x"}, User: "node", Env: map[string]string{"A": "1", "B": "2"}, SecretEnv: map[string]string{"S": "value of S"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.Secret = func(context.Context, SecretRef) ([]byte, error) { return nil, errors.New("it is locked") }
	if _, err := w.ExecIn(t.Context(), "m", backend.Exec{Args: []string{"x"}}, false); err == nil || !strings.Contains(err.Error(), "secret.s: it is locked") {
		t.Errorf("error %v", err)
	}
	if _, err := w.ExecIn(t.Context(), "m", backend.Exec{Args: []string{"x"}}, true); err != nil || len(got.SecretEnv) != 0 {
		t.Errorf("without secrets: %v, %v", err, got.SecretEnv)
	}
	if err := w.Stop(t.Context(), "m"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.ExecIn(t.Context(), "m", backend.Exec{Args: []string{"x"}}, true); err == nil || !strings.Contains(err.Error(), "bottlebuild start m") {
		t.Errorf("error %v", err)
	}
	if _, err := w.ExecIn(t.Context(), "other", backend.Exec{Args: []string{"x"}}, true); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

// TestForces names what takes a new machine, by the machine that is there.
func TestForces(t *testing.T) {
	w, _ := machineTest(t)
	if err := w.runTest(t.Context(), Machine{Env: map[string]string{"A": "1", "TOKEN": "x"}, CPUs: 1}); err != nil {
		t.Fatal(err)
	}
	rec, err := w.Records.Get("m")
	if err != nil {
		t.Fatal(err)
	}
	p := rec.Machine
	p.Env = maps.Clone(p.Env)
	p.Env["A"], p.Env["TOKEN"], p.CPUs, p.Sensitive = "2", "y", 4, []string{"env.TOKEN"}
	p.Ready = &Ready{TCP: 80}
	be, err := w.Backends.Named(t.Context(), BackendContainer, "")
	if err != nil {
		t.Fatal(err)
	}
	s := graph.Spec{Key: machineRecipe(be, p, cache.Digest{}).Key()}
	v, err := w.checkMachine(t.Context(), p, s)
	if err != nil || v.Decision != graph.Run || v.Action != ActionReplace {
		t.Fatalf("%+v, %v", v, err)
	}
	got := map[string]string{}
	for _, r := range v.Reasons {
		got[r.Component] = r.Before + " " + r.After
	}
	if diff := cmp.Diff(map[string]string{"cpus": "1 4", "env.A": "1 2", "env.TOKEN": "(sensitive) (sensitive)"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
