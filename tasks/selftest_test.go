package tasks

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
)

// untestable is a backend that says why its machines cannot be tested, and
// counts how often it was asked.
type untestable struct {
	backend.Backend
	asked   int
	version string
	err     error
}

func (u *untestable) Preflight(context.Context) (backend.Info, error) {
	return backend.Info{Name: "fake", Version: u.version}, nil
}

func (u *untestable) CopyIn(context.Context, string, backend.File) error {
	u.asked++
	return u.err
}

func TestSelfTestIsRecorded(t *testing.T) {
	u := &untestable{version: "1", err: os.ErrPermission}
	w := &Worker{Records: Records{Dir: t.TempDir()}, Platform: "linux/" + runtime.GOARCH, Backends: &Backends{}}
	p := Machine{Name: "m", Pack: "pack", SelfTest: true}
	work := graph.Work{Key: cache.Key{1}, Inputs: map[string]cache.Output{"pack": {Digest: cache.Digest{2}}}}
	test := func() error { return w.selfTest(t.Context(), u, p, work, false, t.Output()) }

	if err := test(); err == nil || u.asked != 1 || !strings.Contains(err.Error(), "machine m: ") {
		t.Fatalf("%d times, %v", u.asked, err)
	}
	info, _ := u.Preflight(t.Context())
	if err := w.Records.pass(passKey(cache.Digest{2}, work.Key, info)); err != nil {
		t.Fatal(err)
	}
	if err := test(); err != nil || u.asked != 1 {
		t.Errorf("after it has passed: %d times, %v", u.asked, err)
	}
	for what, change := range map[string]func(){
		"another spec":    func() { work.Key = cache.Key{3} },
		"another pack":    func() { work.Inputs["pack"] = cache.Output{Digest: cache.Digest{4}} },
		"another version": func() { u.version = "2" },
	} {
		before := u.asked
		change()
		if err := test(); err == nil || u.asked != before+1 {
			t.Errorf("%s: asked %d times more, %v", what, u.asked-before, err)
		}
	}
	p.SelfTest = false
	if before, err := u.asked, test(); err != nil || u.asked != before {
		t.Errorf("turned off: %v", err)
	}
	// A backend that cannot is no fault of the machine's: it is said, and not recorded.
	p.SelfTest, u.err = true, backend.ErrUnsupported
	var notices []string
	w.Backends.Notice = func(s string) { notices = append(notices, s) }
	if err := test(); err != nil || len(notices) != 1 || !strings.Contains(notices[0], "self-test is not possible") {
		t.Errorf("impossible: %v, %q", err, notices)
	}
}

func TestOldPassesAreForgotten(t *testing.T) {
	r := Records{Dir: t.TempDir()}
	old, young := cache.Digest{1}, cache.Digest{2}
	for _, d := range []cache.Digest{old, young} {
		if err := r.pass(d); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * maxPassAge)
	if err := os.Chtimes(filepath.Join(r.passes(), old.Hex()), past, past); err != nil {
		t.Fatal(err)
	}
	if err := r.pass(cache.Digest{3}); err != nil {
		t.Fatal(err)
	}
	if r.passed(old) || !r.passed(young) {
		t.Errorf("old: %t, young: %t", r.passed(old), r.passed(young))
	}
}

func TestUnderTest(t *testing.T) {
	w := &Worker{Platform: "linux/arm64/v8"}
	m := w.underTest(Machine{
		Name: "m", User: "node:staff", Env: map[string]string{"A": "1", "B": "2"}, Sensitive: []string{"env.B"},
		Files: []File{{Path: "/a", Owner: "node"}, {Path: "/b"}, {Path: "/c", Owner: "node:node"}},
	}, cache.Output{}, true)
	if m.Arch != "arm64" || m.Env["A"] != "1" || m.SecretEnv["B"] != "2" || len(m.Env)+len(m.SecretEnv) != 2 || len(m.Others) != 1 || m.Others[0] != "/b" || !m.Used {
		t.Errorf("%+v", m)
	}
}
