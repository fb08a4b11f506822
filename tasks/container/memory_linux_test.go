package container

import (
	"strings"
	"testing"
	"time"

	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/backendtest"
)

// TestOutOfMemory has many small processes take all memory of a machine, so that its
// first process is the largest: it stays, and with it the machine. What else
// runs is given up before, and the same as when the first process started it.
func TestOutOfMemory(t *testing.T) {
	b := newBench(t)
	b.create(backend.Spec{Name: "m", MemoryMiB: minMemoryMiB})
	b.must(b.Start(t.Context(), "m"))
	first := b.wantState("m", backend.Running).PID
	code, out := b.guest("m", "hog", "60", "2")
	if code != 0 && code != 128+9 { // it may be among the killed itself
		t.Errorf("the hog ended with %d: %s", code, out)
	}
	if st := b.wantState("m", backend.Running); st.PID != first {
		t.Errorf("the first process was %d, now it is %d", first, st.PID)
	}
	if code, out := b.guest("m", "cat", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj"); code != 0 || out != "100\n500\n" {
		t.Errorf("scores: %q, exit code %d", out, code)
	}
}

// TestCommandOutOfMemory has the image's command take all memory, which is told
// from its other ends; its score is the others'.
func TestCommandOutOfMemory(t *testing.T) {
	for want, command := range map[string][]string{
		"was ended by signal 9 (killed): the machine is out of memory\nbottlebuild: it is started again": {"/bin/guest", "hog", "0", "256"},
		"\n500\n": {"/bin/guest", "cat", "/proc/self/oom_score_adj"},
	} {
		t.Run(command[1], func(t *testing.T) {
			b := newBench(t)
			image := backendtest.Image(t, b.conf.Store, backendtest.ImageConfig{Entrypoint: command})
			var err error
			b.pack, err = b.Pack(t.Context(), backend.PackRequest{Image: image, Platform: backendtest.Platform, Log: t.Output()})
			b.must(err)
			b.create(backend.Spec{Name: "m", MemoryMiB: minMemoryMiB, Restart: backend.RestartAlways})
			b.must(b.Start(t.Context(), "m"))
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				log, err := b.Log(t.Context(), "m", 1<<20)
				b.must(err)
				if strings.Contains(string(log), want) {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("the log lacks %q:\n%s", want, log)
				}
			}
			b.wantState("m", backend.Running)
		})
	}
}
