package container

import (
	"strings"
	"testing"
	"time"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
)

// TestRestart has the image's command end, well and badly, under each policy; the
// status tells what has become of it, and the machine stays up.
func TestRestart(t *testing.T) {
	for _, tc := range []struct {
		policy backend.Restart
		code   string
		again  bool
	}{
		{"", "3", false},
		{backend.RestartNever, "3", false},
		{backend.RestartOnFailure, "0", false},
		{backend.RestartOnFailure, "3", true},
		{backend.RestartAlways, "0", true},
	} {
		t.Run(string(tc.policy)+" "+tc.code, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			image := backendtest.Image(t, b.conf.Store, backendtest.ImageConfig{Entrypoint: []string{"/bin/guest", "exit", tc.code}})
			var err error
			b.pack, err = b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform, Log: t.Output()})
			b.must(err)
			b.create(backend.Spec{Name: "m", MemoryMiB: 128, Restart: tc.policy})
			b.must(b.Start(t.Context(), "m"))
			want := "has ended, with exit code " + tc.code
			if tc.again {
				want = "keeps ending, last with exit code " + tc.code
			}
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				log, err := b.Log(t.Context(), "m", 1<<20)
				b.must(err)
				ends := strings.Count(string(log), "ended with exit code "+tc.code)
				note := b.wantState("m", backend.Running).Note
				if (ends > 1) == tc.again && ends > 0 && strings.Contains(note, want) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the status says %q, the log:\n%s", note, log)
				}
			}
			b.must(b.Stop(t.Context(), "m"))
		})
	}
}
