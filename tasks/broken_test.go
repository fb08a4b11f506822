package tasks

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

// TestBrokenMachine has a machine that does not start any more: once it is tried,
// then it is made anew, if that is allowed and would help.
func TestBrokenMachine(t *testing.T) {
	anew := []string{"start m", "delete m", "create m", "start m"}
	for name, c := range map[string]struct {
		status  backend.Status
		replace string
		calls   []string
		says    string
	}{
		"broken":                  {backend.Status{State: backend.Broken}, "", anew, ""},
		"broken, always":          {backend.Status{State: backend.Broken, PID: 1}, ReplaceAlways, anew, ""},
		"broken, never":           {backend.Status{State: backend.Broken}, ReplaceNever, anew[:1], `replace = "never" forbids`},
		"broken, but it has life": {backend.Status{State: backend.Broken, PID: 1}, "", anew[:1], "remove it with: bottlebuild down m"},
		"stopped":                 {backend.Status{State: backend.Stopped}, ReplaceAlways, anew[:1], "it is too full here"},
	} {
		t.Run(name, func(t *testing.T) {
			w, be := machineTest(t)
			p := Machine{Replace: c.replace}
			if err := w.runTest(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			c.status.Labels = be.machines["m"].Labels
			be.machines["m"], be.calls = c.status, nil
			be.starts = func(st backend.Status) error {
				if st.State == backend.Created {
					return nil
				}
				return errors.New("it is too full here")
			}
			err := w.runTest(t.Context(), p)
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("error = %v, want one that says %q", err, c.says)
			}
			if diff := cmp.Diff(c.calls, be.calls); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
