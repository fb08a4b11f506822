package tasks

import (
	"testing"

	"bottlebuild/tasks/backend"
)

// TestCutOff tells a set-up that nobody goes on with from one that is under way, is
// over or has failed.
func TestCutOff(t *testing.T) {
	for name, c := range map[string]struct {
		record *Record
		locked bool
		want   bool
	}{
		"cut off":      {record: &Record{}, want: true},
		"under way":    {record: &Record{}, locked: true},
		"complete":     {record: &Record{Complete: true}},
		"failed, kept": {record: &Record{Failure: "it failed"}},
		"no record":    {},
	} {
		t.Run(name, func(t *testing.T) {
			w, _ := machineTest(t)
			if c.record != nil {
				c.record.Machine.Name = "m"
				if err := w.Records.Put(c.record); err != nil {
					t.Fatal(err)
				}
			}
			if c.locked {
				unlock, err := w.Records.Lock(t.Context(), "m")
				if err != nil {
					t.Fatal(err)
				}
				defer unlock()
			}
			if got := w.CutOff(t.Context(), MachineStatus{backend.Status{Name: "m"}, c.record}); got != c.want {
				t.Errorf("CutOff = %t, want %t", got, c.want)
			}
		})
	}
}
