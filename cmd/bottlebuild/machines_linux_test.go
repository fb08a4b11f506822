package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// reboot MACHINE… takes from machines of the container backend what a restart of
// the host takes from them: processes, mounts, and the kernel's and the runtime's
// memory of them. Their first process is known under another boot then.
func cmdReboot(ts *testscript.TestScript, _ bool, args []string) {
	state := filepath.Join(ts.Getenv("BOTTLEBUILD_STATE"), "machines")
	for _, name := range args {
		file := filepath.Join(state, "machines", name, "run.json")
		b, err := os.ReadFile(file)
		ts.Check(err)
		var run map[string]any
		ts.Check(json.Unmarshal(b, &run))
		pid := int(run["pid"].(float64))
		ts.Check(syscall.Kill(pid, syscall.SIGKILL))
		for syscall.Kill(pid, 0) == nil {
			stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
			if strings.Contains(string(stat), ") Z ") { // its parent does not wait for it
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		syscall.Unmount(filepath.Join(state, "machines", name, "rootfs"), syscall.MNT_DETACH)
		run["boot"] = "00000000-0000-0000-0000-000000000000"
		b, err = json.Marshal(run)
		ts.Check(err)
		ts.Check(os.WriteFile(file, b, 0o600))
	}
	ts.Check(os.RemoveAll(filepath.Join(state, "runtime")))
}

// together N COMMAND… runs a command as N processes at once, all of which have to
// succeed.
func cmdTogether(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	var wg sync.WaitGroup
	errs := make([]string, n)
	for i := range n {
		wg.Go(func() {
			cmd := exec.Command(filepath.Join(tools, args[1]), args[2:]...)
			cmd.Dir = ts.Getenv("WORK")
			for _, v := range []string{"PATH", "HOME", "BOTTLEBUILD_CACHE", "BOTTLEBUILD_STATE"} {
				cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				errs[i] = err.Error() + "\n" + string(out)
			}
		})
	}
	wg.Wait()
	if all := strings.Join(errs, ""); all != "" {
		ts.Fatalf("%s", all)
	}
}
