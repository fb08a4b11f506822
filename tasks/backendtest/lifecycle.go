package backendtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

var lifecycleTests = []testCase{
	{"CreateStatus", nil, testCreateStatus},
	{"CreateTwice", nil, testCreateTwice},
	{"StartStopStart", nil, testStartStopStart},
	{"StartRunningIsNoError", nil, testStartRunning},
	{"StopStoppedIsNoError", nil, testStopStopped},
	{"DeleteMissingIsNoError", nil, testDeleteMissing},
	{"DeleteRunning", nil, testDeleteRunning},
	{"DeleteForgetsTheDisk", nil, testDeleteForgetsDisk},
	{"NotFound", nil, testNotFound},
	{"List", nil, testList},
	{"ListOfUnusedBackend", nil, testListUnused},
	{"SeenByAnotherProcess", nil, testSeenByAnother},
	{"DiskIsKept", nil, testDiskIsKept},
	{"TwoMachinesOfOnePack", nil, testTwoMachines},
	{"ManyAtOnce", nil, testManyAtOnce},
	{"StartsManyTimes", nil, testStartsManyTimes},
	{"MemoryIsEmptyAfterRestart", nil, testMemoryIsEmpty},
	{"StopEndsCommands", nil, testStopEndsCommands},
	{"StopEndsDaemons", nil, testStopEndsDaemons},
	{"LabelsRoundTrip", nil, testLabels},
	{"CreatedAtStays", nil, testCreatedAtStays},
	{"CreateAfterFailure", nil, testCreateAfterFailure},
	{"DeleteWhileCommandsRun", nil, testDeleteBusy},
}

func testCreateStatus(t *testing.T, f *fixture) {
	labels := map[string]string{backend.SpecLabel: "sha256:0123", backend.AddressLabel: `bottle.agent["claude"].machine`, "a.b": "c = d, e"}
	name := f.create(t, func(s *backend.Spec) { s.Labels = labels; s.CPUs = 2; s.MemoryMiB = 300 })
	st := f.wantState(t, name, backend.Created, backend.Stopped)
	if st.CreatedAt.IsZero() {
		t.Error("CreatedAt is not set")
	}
	if st.PID != 0 {
		t.Errorf("PID = %d of a machine that never ran", st.PID)
	}
	got := backend.Status{Name: st.Name, Backend: st.Backend, Labels: st.Labels, CPUs: st.CPUs, MemoryMiB: st.MemoryMiB}
	want := backend.Status{Name: name, Backend: f.b.Name(), Labels: labels, CPUs: 2, MemoryMiB: 300}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Status (-want +got):\n%s", diff)
	}
}

func testCreateTwice(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.guest(t, name, "write", "/mine", "first")
	if err := f.b.Create(t.Context(), backend.Spec{Name: name}, f.pack); err == nil {
		t.Fatal("second Create = nil")
	}
	f.wantState(t, name, backend.Running)
	if got := f.guest(t, name, "cat", "/mine"); got != "first" {
		t.Errorf("the first machine's file is %q", got)
	}
}

func testStartStopStart(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.wantState(t, name, backend.Running)
	f.mustStop(t, name)
	if st := f.wantState(t, name, backend.Stopped); st.PID != 0 {
		t.Errorf("PID = %d of a stopped machine", st.PID)
	}
	f.mustStart(t, name)
	f.wantState(t, name, backend.Running)
	if got := f.guest(t, name, "echo", "hello"); got != "hello" {
		t.Errorf("echo = %q", got)
	}
}

func testStartRunning(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	before := f.wantState(t, name, backend.Running)
	f.mustStart(t, name)
	if after := f.wantState(t, name, backend.Running); after.PID != before.PID {
		t.Errorf("PID was %d, is %d: it was started again", before.PID, after.PID)
	}
}

func testStopStopped(t *testing.T, f *fixture) {
	name := f.create(t, nil)
	f.mustStop(t, name)
	f.mustStart(t, name)
	f.mustStop(t, name)
	f.mustStop(t, name)
	f.wantState(t, name, backend.Stopped)
}

func testDeleteMissing(t *testing.T, f *fixture) {
	if err := f.b.Delete(t.Context(), "bt-never-made"); err != nil {
		t.Errorf("Delete of a machine that never was: %v", err)
	}
	name := f.create(t, nil)
	for range 2 {
		if err := f.b.Delete(t.Context(), name); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
}

func testDeleteRunning(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	if err := f.b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if _, err := f.b.Status(t.Context(), name); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Status of a deleted machine: %v, want ErrNotFound", err)
	}
}

func testDeleteForgetsDisk(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.guest(t, name, "write", "/mine", "first")
	if err := f.b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := f.b.Create(t.Context(), backend.Spec{Name: name, CPUs: 1, MemoryMiB: 256}, f.pack); err != nil {
		t.Fatal(err)
	}
	f.mustStart(t, name)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "test", "-e", "/mine"}}); r.Code != 1 {
		t.Errorf("the new machine has the old one's file: %+v", r)
	}
}

func testNotFound(t *testing.T, f *fixture) {
	const name = "bt-never-made"
	ctx := t.Context()
	for op, err := range map[string]error{
		"Status": second(f.b.Status(ctx, name)),
		"Start":  f.b.Start(ctx, name),
		"Stop":   f.b.Stop(ctx, name),
		"Exec":   second(f.b.Exec(ctx, name, backend.Exec{Args: []string{"/bin/guest", "true"}})),
		"CopyIn": f.b.CopyIn(ctx, name, backend.File{Path: "/x", Mode: 0o644}),
		"Dial":   second(f.b.Dial(ctx, name, f.port)),
		"Log":    second(f.b.Log(ctx, name, 10)),
	} {
		if !errors.Is(err, backend.ErrNotFound) {
			t.Errorf("%s: %v, want one that wraps ErrNotFound", op, err)
		} else if !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want the name in it", op, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func testList(t *testing.T, f *fixture) {
	names := []string{f.create(t, nil), f.start(t, nil), f.create(t, nil)}
	list, err := f.b.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, st := range list {
		if !slices.Contains(names, st.Name) {
			continue // one that other tests share
		}
		got = append(got, st.Name)
		want, err := f.b.Status(t.Context(), st.Name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, st); diff != "" {
			t.Errorf("Status and List differ (-status +list):\n%s", diff)
		}
	}
	if diff := cmp.Diff(names, got); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
}

func testListUnused(t *testing.T, f *fixture) {
	list, err := f.h.New(t, f.store, t.TempDir()).List(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v; want none", list, err)
	}
}

func testSeenByAnother(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	other := *f
	other.b = f.h.New(t, f.store, f.state)
	before, after := f.wantState(t, name, backend.Running), other.wantState(t, name, backend.Running)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("Status differs (-first +second):\n%s", diff)
	}
	if got := other.guest(t, name, "echo", "hello"); got != "hello" {
		t.Errorf("echo = %q", got)
	}
	other.mustStop(t, name)
	f.wantState(t, name, backend.Stopped)
}

func testDiskIsKept(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.guest(t, name, "write", "/home/node/kept", "content")
	f.guest(t, name, "rm", "/dir/new")
	f.mustStop(t, name)
	f.mustStart(t, name)
	if got := f.guest(t, name, "cat", "/home/node/kept"); got != "content" {
		t.Errorf("kept file = %q", got)
	}
	if got := f.guest(t, name, "ls", "/dir"); got != "" {
		t.Errorf("a removed file is back: %q", got)
	}
}

func testTwoMachines(t *testing.T, f *fixture) {
	a, b := f.start(t, nil), f.start(t, nil)
	f.guest(t, a, "write", "/who", "a")
	f.guest(t, b, "write", "/who", "b")
	f.guest(t, a, "rm", "/dir")
	if got := f.guest(t, a, "cat", "/who"); got != "a" {
		t.Errorf("first machine has %q", got)
	}
	if got := f.guest(t, b, "ls", "/dir"); got != "new" {
		t.Errorf("second machine's /dir has %q", got)
	}
	if err := f.b.Delete(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := f.guest(t, b, "cat", "/who"); got != "b" {
		t.Errorf("second machine has %q", got)
	}
}

func testManyAtOnce(t *testing.T, f *fixture) {
	var wg sync.WaitGroup
	for range 4 {
		spec := f.spec(t)
		wg.Go(func() {
			if err := f.b.Create(t.Context(), spec, f.pack); err != nil {
				t.Errorf("Create: %v", err)
				return
			}
			if err := f.b.Start(t.Context(), spec.Name); err != nil {
				t.Errorf("Start: %v", err)
				return
			}
			var out strings.Builder
			code, err := f.b.Exec(t.Context(), spec.Name, backend.Exec{Args: []string{"/bin/guest", "echo", spec.Name}, Stdout: &out})
			if err != nil || code != 0 || out.String() != spec.Name+"\n" {
				t.Errorf("Exec = %d, %v, output %q", code, err, &out)
			}
			if err := f.b.Stop(t.Context(), spec.Name); err != nil {
				t.Errorf("Stop: %v", err)
			}
		})
	}
	wg.Wait()
}

func testStartsManyTimes(t *testing.T, f *fixture) {
	name := f.create(t, nil)
	for i := range 3 {
		f.mustStart(t, name)
		f.guest(t, name, "append", "/starts", fmt.Sprint(i))
		f.mustStop(t, name)
	}
	f.mustStart(t, name)
	if got := f.guest(t, name, "cat", "/starts"); got != "012" {
		t.Errorf("starts = %q", got)
	}
}

// testMemoryIsEmpty holds of what every Linux has in memory.
func testMemoryIsEmpty(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.guest(t, name, "write", "/dev/shm/file", "x")
	f.mustStop(t, name)
	f.mustStart(t, name)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "test", "-e", "/dev/shm/file"}}); r.Code != 1 {
		t.Errorf("a file in /dev/shm outlived the machine's memory: %+v", r)
	}
	if got := f.guest(t, name, "stat", "/dev/shm"); !strings.HasPrefix(got, "dtrwxrwxrwx 0:0") {
		t.Errorf("stat /dev/shm = %q", got)
	}
}

// holding runs a command that holds a lock, and returns when it does. done
// receives what Exec returned.
func (f *fixture) holding(t *testing.T, name, lock string) (done <-chan error) {
	t.Helper()
	out := newWatch("holding")
	ended := make(chan error, 1)
	go func() {
		code, err := f.b.Exec(t.Context(), name, backend.Exec{Args: []string{"/bin/guest", "hold", lock}, User: f.root(), Stdout: out})
		if err == nil && code == 0 {
			err = errors.New("the command succeeded")
		} else if err == nil {
			err = fmt.Errorf("exit code %d", code)
		}
		ended <- err
	}()
	select {
	case <-out.seen:
	case err := <-ended:
		t.Fatalf("Exec ended: %v", err)
	}
	return ended
}

// testStopEndsCommands stops a machine under a command, whose caller must not
// wait for ever, nor be told that it succeeded.
func testStopEndsCommands(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	done := f.holding(t, name, "/lock")
	f.mustStop(t, name)
	if err := <-done; err.Error() == "the command succeeded" {
		t.Error(err)
	}
	f.wantState(t, name, backend.Stopped)
}

func testStopEndsDaemons(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	f.guest(t, name, "detach", "hold", "/daemon-lock")
	poll(t, "the daemon is there", func() bool {
		return f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "held", "/daemon-lock"}}).Code == 0
	})
	f.mustStop(t, name)
	f.mustStart(t, name)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "held", "/daemon-lock"}}); r.Code != 1 {
		t.Errorf("the daemon outlived the machine: %+v", r)
	}
}

func testLabels(t *testing.T, f *fixture) {
	labels := map[string]string{
		backend.SpecLabel: strings.Repeat("0123456789abcdef", 64), backend.PackLabel: f.pack.Digest.String(),
		"a": "", "b": "=", "c": "a=b,c=d", "d": "two\nlines", "e": `quotes " and ' and \`, "f": "ä☃", "g": "--net", "h": " spaces ",
	}
	name := f.create(t, func(s *backend.Spec) { s.Labels = labels })
	for range 2 {
		st, err := f.b.Status(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(labels, st.Labels); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		f.mustStart(t, name)
	}
}

func testCreatedAtStays(t *testing.T, f *fixture) {
	name := f.create(t, nil)
	want := f.wantState(t, name, backend.Created, backend.Stopped).CreatedAt
	f.mustStart(t, name)
	f.mustStop(t, name)
	if got := f.wantState(t, name, backend.Stopped).CreatedAt; !got.Equal(want) {
		t.Errorf("CreatedAt was %s, is %s", want, got)
	}
}

func testCreateAfterFailure(t *testing.T, f *fixture) {
	spec := f.spec(t)
	pack := f.pack
	pack.Digest = cache.DigestOf([]byte("no pack"))
	if err := f.b.Create(t.Context(), spec, pack); err == nil {
		t.Fatal("Create from what is no pack = nil")
	}
	if err := f.b.Create(t.Context(), spec, f.pack); err != nil {
		t.Fatal(err)
	}
	f.mustStart(t, spec.Name)
}

func testDeleteBusy(t *testing.T, f *fixture) {
	name := f.start(t, nil)
	done := f.holding(t, name, "/lock")
	if err := f.b.Delete(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err.Error() == "the command succeeded" {
		t.Error(err)
	}
	if _, err := f.b.Status(t.Context(), name); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Status of a deleted machine: %v, want ErrNotFound", err)
	}
}
