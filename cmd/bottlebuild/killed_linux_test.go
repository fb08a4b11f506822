package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var kills = flag.Int("kills", 10, "how often TestKilled kills bottlebuild")

// TestKilled kills bottlebuild at random moments between its start and its end,
// as it packs an image and boots a machine, and then wants the next run to do all
// that is left to do, and after that nothing to be left of either: no process,
// mount, cgroup, interface, table, socket or file. Meanwhile a machine of the same
// name, of somebody else's, goes on undisturbed.
func TestKilled(t *testing.T) {
	if _, err := exec.LookPath("runc"); err != nil {
		missing(t, "runc is not installed")
	}
	if os.Geteuid() != 0 {
		missing(t, "this is not run as root")
	}
	p := newPlace(t)
	p.reset()
	before := p.left()
	before["files"] = nil
	// Files of the cache that a run adds are of use to the next; those that it had
	// no need of may be missing. All else is as it was.
	var usual []string
	whole := map[string]time.Duration{} // how long a run takes that nobody kills
	for _, file := range []string{tested, untested} {
		p.reset()
		whole[file] = p.succeed("run", file)
		p.wantRunning()
		p.succeed("down", "--all")
		usual = append(usual, p.left()["files"]...)
	}
	compare := func() string {
		left := p.left()
		left["files"] = slices.DeleteFunc(left["files"], func(f string) bool { return slices.Contains(usual, f) })
		return cmp.Diff(before, left, cmpopts.EquateEmpty())
	}
	stages := map[string]int{}
	for i := range *kills {
		p.reset()
		file := untested
		if i%10 == 0 {
			file = tested
			p.wantOther()
		}
		delay := rand.N(whole[file] * 11 / 10)
		cmd := p.command("run", file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		cmd.Process.Kill() // it may be done
		// What an undisturbed run takes changes with what else the host does.
		stage := "over"
		if cmd.Wait() == nil {
			whole[file] = whole[file] * 9 / 10
		} else {
			whole[file] = whole[file] * 101 / 100
			stage = p.stage()
		}
		stages[stage]++
		p.succeed("run", file)
		p.wantRunning()
		p.succeed("down", "--all")
		diff := compare()
		for range 100 { // what ends by itself need not be quick
			if diff == "" {
				break
			}
			time.Sleep(50 * time.Millisecond)
			diff = compare()
		}
		if diff != "" {
			t.Fatalf("kill %d, after %s, %s: what is left (-want +got):\n%s", i+1, delay, stage, diff)
		}
		if (i+1)%50 == 0 {
			fmt.Fprintf(t.Output(), "%d kills\n", i+1)
		}
	}
	p.wantOther()
	var list []string
	for stage, n := range stages {
		list = append(list, fmt.Sprintf("%d %s", n, stage))
	}
	slices.Sort(list)
	t.Logf("%d kills; when they came, the run was: %s", *kills, strings.Join(list, ", "))
}
