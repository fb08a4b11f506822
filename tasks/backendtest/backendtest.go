// Package backendtest is the conformance suite of [backend.Backend]: whoever
// implements it passes [Run].
//
// The suite's image is made FROM scratch around one static program, bottlebuild's
// own guest/, which has the few tools that the suite runs in machines. So it
// needs no registry, no builder and no distribution.
package backendtest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// Harness is a backend to be tested and what it claims to do.
type Harness struct {
	// New returns a backend that works on store and keeps all that it remembers
	// in the directory state, which exists. A second call with the same two is
	// what another process would see: the machines of the first.
	New func(t *testing.T, store *cache.Store, state string) backend.Backend

	// DeterministicPack: packing one image twice yields one digest.
	DeterministicPack bool
	// RunsEntrypoint: starting a machine runs the image's entrypoint as the
	// image's user, its output goes to the console, and SIGTERM reaches it on Stop.
	RunsEntrypoint bool
	// Isolated: a machine has a host name, processes and a network of its own.
	Isolated bool
	// DialNeedsPort: Dial reaches only ports that the spec publishes. The suite
	// then publishes each under the same number on the host.
	DialNeedsPort bool
	// NoNetwork: a spec that asks for network is not supported.
	NoNetwork bool
	// NoPorts: publishing ports is not supported, or cannot be tested.
	NoPorts bool
	// NoUser: Exec cannot run as another user than the image's.
	NoUser bool
	// NoVolumes: volumes are not supported.
	NoVolumes bool
	// Brief leaves out tests of what the version below the backend has no part in:
	// another run of the suite, with another version, has them.
	Brief bool
	// TTY: Exec can give the command a terminal.
	TTY bool
}

// Require reports whether a missing part (root, a runtime, …) fails the test
// rather than skips it: the environment variable BOTTLEBUILD_REQUIRE is 1.
func Require() bool { return os.Getenv("BOTTLEBUILD_REQUIRE") == "1" }

// Missing skips the test for want of what the arguments say, or fails it where
// [Require] holds.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if Require() {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// A spec's test, and which harness it is not for.
type testCase struct {
	name string
	skip func(Harness) bool // nil: for every harness
	run  func(t *testing.T, f *fixture)
}

// leftOut are the tests that Brief leaves out: of machines' lives, of ports and
// logs, and of much data.
var leftOut = map[string]bool{
	"PackAtOnce": true, "PackOfOtherPlatform": true, "PackOfAnotherImageDiffers": true, "CheckPackAfterEviction": true, "CreateFromEvictedPack": true,
	"CreateTwice": true, "CreateStatus": true, "StartStopStart": true, "StartRunningIsNoError": true,
	"StopStoppedIsNoError": true, "DeleteMissingIsNoError": true,
	"DeleteRunning": true, "DeleteForgetsTheDisk": true, "List": true, "ListOfUnusedBackend": true, "SeenByAnotherProcess": true,
	"TwoMachinesOfOnePack": true, "ManyAtOnce": true, "StartsManyTimes": true, "MemoryIsEmptyAfterRestart": true,
	"StopEndsCommands": true, "StopEndsDaemons": true, "LabelsRoundTrip": true, "CreatedAtStays": true, "CreateAfterFailure": true,
	"DeleteWhileCommandsRun": true, "ExecInStoppedMachine": true, "CopyInIsKept": true, "CopyInToStoppedMachine": true,
	"VolumesAreLive": true, "PublishedPort": true, "PublishedPorts": true, "PortTaken": true, "LogAfterRestart": true, "EntrypointEnds": true,
	"EntrypointEnvironment": true, "Dial": true, "DialNobodyListens": true, "Log": true, "LogOfMachineNeverStarted": true, "Console": true,
	"ExecEveryExitCode": true, "ExecMuchOutput": true, "ExecMuchOnBothStreams": true, "ExecMuchOutputWithInput": true, "ExecAtOnce": true,
	"CopyInAtOnce": true, "CopyTreeFails": true,
}

// Run runs every test of the suite against the backend. The caller has made sure
// that the backend can work here, see [Missing].
func Run(t *testing.T, h Harness) {
	f := newFixture(t, h)
	run, left, skipped := 0, 0, []string{}
	for _, group := range [][]testCase{packTests, specTests, lifecycleTests, execTests, streamTests, fileTests, copyTests, zooTests, reachTests} {
		for _, c := range group {
			t.Run(c.name, func(t *testing.T) {
				if h.Brief && leftOut[c.name] {
					left++
					t.Skip("left out of a brief run")
				}
				if c.skip != nil && c.skip(h) {
					skipped = append(skipped, c.name)
					t.Skip("the backend does not claim this")
				}
				run++
				c.run(t, f)
			})
		}
	}
	for _, m := range []*kept{&f.common, &f.zoo} {
		if m.name != "" {
			f.delete(t, m.name)
		}
	}
	t.Run("NothingIsLeft", f.nothingIsLeft)
	t.Logf("conformance: %d cases run, %d left out of a brief run, %d not claimed: %s", run+1, left, len(skipped), strings.Join(skipped, " "))
}

// fixture is one backend with the suite's image packed, for tests that do no
// harm to either.
type fixture struct {
	h     Harness
	store *cache.Store
	state string
	b     backend.Backend
	image cache.Output
	pack  cache.Output
	port  int // that the image's entrypoint serves

	common, zoo kept
}

// kept is a machine that many tests use, none of which harms it: it is made by
// the first.
type kept struct{ name string }

// shared returns a machine that runs, with some environment of its own. Tests
// leave it running, and what they write there is at paths of their own.
func (f *fixture) shared(t *testing.T) string {
	t.Helper()
	if f.common.name == "" {
		spec := f.unnamed()
		spec.Env = map[string]string{"MACHINE": "machine", "BOTH": "machine", "ALL": "machine", "SPACE": "a b\n$c", "EMPTY": ""}
		f.common.name = f.keep(t, spec, f.pack)
	}
	return f.common.name
}

// keep makes a machine that outlives the test.
func (f *fixture) keep(t *testing.T, spec backend.Spec, pack cache.Output) string {
	t.Helper()
	spec.Name = freshName()
	if err := f.b.Create(t.Context(), spec, pack); err != nil {
		t.Fatalf("Create: %v", err)
	}
	if err := f.b.Start(t.Context(), spec.Name); err != nil {
		f.delete(t, spec.Name)
		t.Fatalf("Start: %v", err)
	}
	return spec.Name
}

func (f *fixture) delete(t *testing.T, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	if err := f.b.Delete(ctx, name); err != nil {
		t.Errorf("Delete at the end of the test: %v", err)
	}
}

func newFixture(t *testing.T, h Harness) *fixture {
	t.Helper()
	f := &fixture{h: h, store: newStore(t), state: t.TempDir(), port: freePort(t)}
	f.b = h.New(t, f.store, f.state)
	f.image = Image(t, f.store, f.imageConfig())
	f.pack = f.packImage(t, f.image)
	return f
}

func newStore(t *testing.T) *cache.Store {
	t.Helper()
	s, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func (f *fixture) packImage(t *testing.T, image cache.Output) cache.Output {
	t.Helper()
	pack, err := f.b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: Platform, Log: t.Output()})
	if err != nil {
		t.Fatalf("Pack: %v", err)
	}
	return pack
}

var machines atomic.Int32

// newName returns a machine name that no other test has, whose machine is deleted when
// the test ends.
func (f *fixture) newName(t *testing.T) string {
	t.Helper()
	name := freshName()
	t.Cleanup(func() { f.delete(t, name) })
	return name
}

func freshName() string { return fmt.Sprintf("bt-%d-%d", os.Getpid(), machines.Add(1)) }

func (f *fixture) spec(t *testing.T) backend.Spec {
	t.Helper()
	spec := f.unnamed()
	spec.Name = f.newName(t)
	return spec
}

func (f *fixture) unnamed() backend.Spec {
	return backend.Spec{CPUs: 1, MemoryMiB: 256, Labels: map[string]string{backend.ProjectLabel: "backendtest"}}
}

// create makes a machine and does not start it. change may be nil.
func (f *fixture) create(t *testing.T, change func(*backend.Spec)) string {
	t.Helper()
	spec := f.spec(t)
	if change != nil {
		change(&spec)
	}
	if err := f.b.Validate(spec); err != nil {
		t.Fatalf("Validate: %v", err)
	}
	if err := f.b.Create(t.Context(), spec, f.pack); err != nil {
		t.Fatalf("Create: %v", err)
	}
	return spec.Name
}

// start makes a machine that runs. change may be nil.
func (f *fixture) start(t *testing.T, change func(*backend.Spec)) string {
	t.Helper()
	name := f.create(t, change)
	f.mustStart(t, name)
	return name
}

func (f *fixture) mustStart(t *testing.T, name string) {
	t.Helper()
	if err := f.b.Start(t.Context(), name); err != nil {
		if log, lerr := f.b.Log(t.Context(), name, 4096); lerr == nil {
			t.Logf("console:\n%s", log)
		}
		t.Fatalf("Start: %v", err)
	}
}

func (f *fixture) mustStop(t *testing.T, name string) {
	t.Helper()
	if err := f.b.Stop(t.Context(), name); err != nil {
		t.Fatalf("Stop: %v", err)
	}
}

func (f *fixture) wantState(t *testing.T, name string, want ...backend.State) backend.Status {
	t.Helper()
	st, err := f.b.Status(t.Context(), name)
	if err != nil {
		t.Fatalf("Status: %v", err)
	}
	for _, w := range want {
		if st.State == w {
			return st
		}
	}
	t.Fatalf("state is %q, want %q", st.State, want)
	return st
}

type result struct {
	Code           int
	Stdout, Stderr string
}

// exec runs e as root unless it names a user or the harness cannot.
func (f *fixture) exec(t *testing.T, name string, e backend.Exec) result {
	t.Helper()
	if e.User == "" && !f.h.NoUser {
		e.User = "root"
	}
	return f.execAsIs(t, name, e)
}

func (f *fixture) execAsIs(t *testing.T, name string, e backend.Exec) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	e.Stdout, e.Stderr = &stdout, &stderr
	code, err := f.b.Exec(t.Context(), name, e)
	if err != nil {
		t.Fatalf("Exec %q: %v\nstderr: %s", e.Args, err, stderr.String())
	}
	return result{code, stdout.String(), stderr.String()}
}

// guest runs a tool of the guest program, which must succeed, and returns what
// it prints without the last line end.
func (f *fixture) guest(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := f.exec(t, name, backend.Exec{Args: append([]string{"/bin/guest"}, args...)})
	if r.Code != 0 {
		t.Fatalf("guest %q: exit code %d\nstdout: %s\nstderr: %s", args, r.Code, r.Stdout, r.Stderr)
	}
	return strings.TrimSuffix(r.Stdout, "\n")
}

// poll asks until the answer is yes, for as long as a slow machine may need.
func poll(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !yes(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// nothingIsLeft runs after all machines of the suite have been deleted.
func (f *fixture) nothingIsLeft(t *testing.T) {
	list, err := f.b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range list {
		t.Errorf("machine %s is left, %s", st.Name, st.State)
	}
}
