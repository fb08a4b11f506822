package history

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/cache"
	"bottlebuild/graph"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func result(address string, status graph.Status, seconds int) *graph.Result {
	return &graph.Result{
		Node: &graph.Node{Address: address, Kind: "image"}, Status: status, Key: cache.Key{1},
		Output: cache.Output{Digest: cache.Digest{2}}, Started: epoch, Elapsed: time.Duration(seconds) * time.Second, Bytes: 10,
	}
}

// add records a run that ended at some time after the epoch.
func add(t *testing.T, l Log, project string, at time.Duration, results ...*graph.Result) *Recorder {
	t.Helper()
	r := l.Start(project, "dev", nil, epoch.Add(at))
	if err := r.End(Done, &graph.Report{Results: results}, nil, epoch.Add(at+time.Second)); err != nil {
		t.Fatal(err)
	}
	return r
}

func all(t *testing.T, l Log, project string) (runs []*Run) {
	t.Helper()
	if err := l.Runs(project, func(r *Run) bool { runs = append(runs, r); return true }); err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestARunIsKept(t *testing.T) {
	l := Log{Dir: filepath.Join(t.TempDir(), "runs")}
	if runs := all(t, l, ""); len(runs) > 0 {
		t.Errorf("runs before the first: %v", runs)
	}
	if _, err := l.Find("", ""); !errors.Is(err, ErrNone) {
		t.Errorf("newest of none: %v", err)
	}
	r := l.Start("p", "dev", []string{"image.a"}, epoch)
	failed := result("b", graph.Failed, 2)
	failed.Err = errors.New("broken")
	ran := result("a", graph.Ran, 1)
	ran.Reasons = []graph.Reason{{Cause: graph.NeverBuilt, Component: "history", Text: "never"}}
	report := &graph.Report{Results: []*graph.Result{ran, failed, result("c", graph.Cached, 0)}}
	if err := r.End(Failed, report, errors.New("of a node"), epoch.Add(3*time.Second)); err != nil {
		t.Fatal(err)
	}
	key, digest, start := cache.Key{1}, cache.Digest{2}, epoch
	want := &Run{
		FormatVersion: "1", ID: r.ID(), Project: "p", Targets: []string{"image.a"}, Version: "dev", Started: epoch, Seconds: 3,
		Status: Failed, Counts: map[string]int{"ran": 1, "failed": 1, "cached": 1},
		Nodes: []Node{
			{Address: "a", Kind: "image", Status: graph.Ran, Key: &key, Digest: &digest, Started: &start, Seconds: 1, Bytes: 10, Reasons: ran.Reasons},
			{Address: "b", Kind: "image", Status: graph.Failed, Key: &key, Digest: &digest, Started: &start, Seconds: 2, Bytes: 10, Error: "broken"},
			{Address: "c", Kind: "image", Status: graph.Cached, Key: &key, Digest: &digest, Bytes: 10},
		},
	}
	got, err := l.Find("p", "")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if fi, err := os.Stat(l.path(r.ID())); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", fi, err)
	}
}

func TestRunsOfAProjectNewestFirst(t *testing.T) {
	l := Log{Dir: t.TempDir()}
	add(t, l, "p", 0)
	add(t, l, "q", time.Hour)
	last := add(t, l, "p", 2*time.Hour)
	if runs := all(t, l, "p"); len(runs) != 2 || runs[0].ID != last.ID() {
		t.Errorf("runs of p: %v", runs)
	}
	if runs := all(t, l, ""); len(runs) != 3 {
		t.Errorf("all runs: %v", runs)
	}
	if r, err := l.Find("", last.ID()[:len("20060102T150405")]); err != nil || r.ID != last.ID() {
		t.Errorf("by the start of its name: %v, %v", r, err)
	}
	if _, err := l.Find("", "2026"); err == nil || errors.Is(err, ErrNone) {
		t.Errorf("a start that several have: %v", err)
	}
}

func TestARunThatWasKilledIsKnown(t *testing.T) {
	l := Log{Dir: t.TempDir()}
	r := l.Start("p", "dev", nil, epoch)
	if err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	if runs := all(t, l, ""); len(runs) != 1 || runs[0].Status != Running {
		t.Fatalf("while it runs: %+v", runs)
	}
	// What has ended by then is in its record, once.
	for _, res := range []*graph.Result{
		result("a", graph.Cached, 0), result("b", graph.Ran, 2), result("c", graph.Ran, 1), result("b", graph.Cached, 0), result("d", graph.Failed, 1), result("d", graph.Ran, 3),
	} {
		r.cost = 0
		r.Note(res)
	}
	if runs := all(t, l, ""); len(runs) != 1 || runs[0].Status != Running {
		t.Fatalf("when nodes have ended: %+v", runs)
	}
	r.lock.Close() // as the kernel does for a process that is gone
	runs := all(t, l, "")
	if len(runs) != 1 || runs[0].Status != Killed {
		t.Fatalf("afterwards: %+v", runs)
	}
	var nodes []string
	for _, n := range runs[0].Nodes {
		nodes = append(nodes, fmt.Sprintf("%s %s %gs", n.Address, n.Status, n.Seconds))
	}
	if diff := cmp.Diff([]string{"a cached 0s", "b ran 2s", "c ran 1s", "d ran 3s"}, nodes); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"cached": 1, "ran": 3}, runs[0].Counts); diff != "" {
		t.Error(diff)
	}
}

// To keep the record of what has ended costs a run next to nothing: what is written
// often is written seldom if that takes long.
func TestNotesOfManyNodesAreWrittenSeldom(t *testing.T) {
	l := Log{Dir: t.TempDir()}
	r := l.Start("p", "dev", nil, epoch)
	if err := r.Begin(); err != nil {
		t.Fatal(err)
	}
	r.Note(result("a", graph.Ran, 1))
	r.cost, r.wrote = time.Hour, time.Now()
	r.Note(result("b", graph.Ran, 1))
	if run := all(t, l, "")[0]; len(run.Nodes) != 1 {
		t.Errorf("%d nodes have been written", len(run.Nodes))
	}
	if err := r.End(Failed, nil, errors.New("broken"), epoch.Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	if run := all(t, l, "")[0]; run.Status != Failed || run.Error != "broken" || len(run.Nodes) != 2 {
		t.Errorf("at the end: %+v", run)
	}
}

func TestBounds(t *testing.T) {
	l := Log{Dir: t.TempDir()}
	for i := range MaxRuns + slack + 1 {
		add(t, l, "p", time.Duration(i)*time.Second)
	}
	runs := all(t, l, "")
	if len(runs) != MaxRuns || runs[0].Started != epoch.Add((MaxRuns+slack)*time.Second) {
		t.Errorf("%d runs, the newest of %v", len(runs), runs[0].Started)
	}
	var results []*graph.Result
	for i := range maxNodes + 10 {
		results = append(results, result(fmt.Sprintf("n%d", i), graph.Cached, 0))
	}
	results[maxNodes+5].Status = graph.Failed
	results[maxNodes+5].Err = errors.New(strings.Repeat("x", 2*maxText))
	r := add(t, l, "big", time.Hour, results...)
	run, err := l.Find("", r.ID())
	if err != nil {
		t.Fatal(err)
	}
	last := run.Nodes[len(run.Nodes)-1]
	if len(run.Nodes) != maxNodes || run.Omitted != 10 || last.Status != graph.Failed || len(last.Error) > maxText+10 {
		t.Errorf("%d nodes, %d left out, the last %s with an error of %d bytes", len(run.Nodes), run.Omitted, last.Status, len(last.Error))
	}
	if run.Counts["cached"] != maxNodes+9 {
		t.Errorf("counts: %v", run.Counts)
	}
}

func TestDamagedRecordsArePassedOver(t *testing.T) {
	l := Log{Dir: t.TempDir()}
	good := add(t, l, "p", 0)
	for name, text := range map[string]string{
		"x.json": "", "y.json": `{"id":"other","format_version":"1"}`, ".tmp-z": "half", "z.json": `{"id":"z","format_version":"9"}`,
	} {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if runs := all(t, l, ""); len(runs) != 1 || runs[0].ID != good.ID() {
		t.Errorf("runs: %v", runs)
	}
}

func TestPast(t *testing.T) {
	machine := func(action string, seconds int) *graph.Result {
		r := result("m", graph.Ran, seconds)
		r.Node.Kind, r.Action = "machine", action
		return r
	}
	l := Log{Dir: t.TempDir()}
	add(t, l, "p", 0, result("a", graph.Ran, 1), result("b", graph.Ran, 100), result("c", graph.Cached, 1000), machine("create", 20))
	add(t, l, "p", time.Minute, result("a", graph.Ran, 7), machine("start", 2))
	add(t, l, "q", time.Hour, machine("start", 4), machine("start", 4))
	p, err := l.Past("p")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		address, kind string
		actions       []string
		want          graph.Estimate
	}{
		"its own, the latest":     {"a", "image", []string{""}, graph.Estimate{Seconds: 7, Bytes: 10}},
		"the middle of its kind":  {"x", "image", []string{""}, graph.Estimate{Seconds: 7, Bytes: 10, Typical: true}},
		"its own of the action":   {"m", "machine", []string{"start"}, graph.Estimate{Seconds: 2, Bytes: 10}},
		"the middle of an action": {"x", "machine", []string{"start"}, graph.Estimate{Seconds: 4, Bytes: 10, Typical: true}},
		"of one like it":          {"m", "machine", []string{"replace", "create"}, graph.Estimate{Seconds: 20, Bytes: 10}},
		"of no such action":       {"m", "machine", []string{"update"}, graph.Estimate{}},
		"of no such kind":         {"x", "push", []string{""}, graph.Estimate{}},
	} {
		if got := p.Of(&graph.Node{Address: c.address, Kind: c.kind}, c.actions...); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestDurations(t *testing.T) {
	l := Log{Dir: filepath.Join(t.TempDir(), "runs")}
	add(t, l, "p", 0, result("a", graph.Ran, 9), result("b", graph.Ran, 2))
	add(t, l, "p", time.Minute, result("a", graph.Ran, 3), result("b", graph.Failed, 70), result("c", graph.Cached, 0))
	add(t, l, "other", time.Hour, result("a", graph.Ran, 50))
	got, err := l.Durations("p")
	if diff := cmp.Diff(map[string]float64{"a": 3, "b": 2}, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}
