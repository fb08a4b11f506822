package tasks

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

// TestReplacementThatCannotBe has a machine that is to be replaced by one for
// which the host lacks something: it stays, running as it was.
func TestReplacementThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	replaced := []string{"delete m", "create m", "start m"}
	for name, c := range map[string]struct {
		change Machine
		owns   int  // a port that the machine that is there publishes
		broken bool // it is, and does not start
		calls  []string
		says   string
	}{
		"volume":                   {change: Machine{Volumes: []Volume{{Host: dir, Guest: "/v"}}}, calls: replaced},
		"volume of a name":         {change: Machine{Volumes: []Volume{{Name: "v", Guest: "/v"}}}, calls: replaced},
		"no directory":             {change: Machine{Volumes: []Volume{{Host: filepath.Join(dir, "none"), Guest: "/v"}}}, says: "none on the host: "},
		"a file":                   {change: Machine{Volumes: []Volume{{Host: file, Guest: "/v"}}}, says: "it is not a directory"},
		"port taken":               {change: Machine{Ports: []Port{{Host: taken, Guest: 80}}}, says: "another process of this host uses it"},
		"port that it has":         {change: Machine{Ports: []Port{{Host: taken, Guest: 80}}}, owns: taken, calls: replaced},
		"broken, and no directory": {change: Machine{Volumes: []Volume{{Host: filepath.Join(dir, "none"), Guest: "/v"}}}, broken: true, calls: []string{"start m"}, says: "none on the host: "},
	} {
		t.Run(name, func(t *testing.T) {
			w, be := machineTest(t)
			w.Volumes.Dir = t.TempDir()
			if c.broken {
				if err := w.runTest(t.Context(), c.change); err != nil {
					t.Fatal(err)
				}
				be.starts = func(backend.Status) error { return os.ErrPermission }
			} else if err := w.runTest(t.Context(), Machine{}); err != nil {
				t.Fatal(err)
			}
			st := be.machines["m"]
			if c.broken {
				st.State = backend.Broken
			} else {
				st.PID = 1
			}
			if c.owns != 0 {
				st.Ports = []backend.Port{{Host: c.owns, Guest: 8080}}
			}
			be.machines["m"], be.calls = st, nil
			c.change.Replace = ReplaceAlways
			err := w.runTest(t.Context(), c.change)
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "stays as it is")) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
			if diff := cmp.Diff(c.calls, be.calls); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if rec, err := w.Records.Get("m"); err != nil || !rec.Complete {
				t.Errorf("record %+v, %v", rec, err)
			}
		})
	}
}

// TestReplacementAfterCutOffStart: what still holds the ports of a machine whose start
// was killed is ended, and is no reason to refuse the next.
func TestReplacementAfterCutOffStart(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w, be := machineTest(t)
	p := Machine{Replace: ReplaceAlways}
	if err := w.runTest(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	p.Ports = []Port{{Host: l.Addr().(*net.TCPAddr).Port, Guest: 80}}
	be.calls, be.stops = nil, func() { l.Close() }
	if err := w.runTest(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"stop m", "delete m", "create m", "start m"}, be.calls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
