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
	"github.com/vishvananda/netlink"
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

// inmachine TEXT waits until a process in a machine has the text in its
// environment, and checks that no process outside of machines has it there or in
// its arguments.
func cmdInMachine(ts *testscript.TestScript, _ bool, args []string) {
	own, err := os.Readlink("/proc/self/ns/pid")
	ts.Check(err)
	for range 1500 {
		inside := false
		all, err := filepath.Glob("/proc/[0-9]*")
		ts.Check(err)
		for _, dir := range all {
			ns, err := os.Readlink(filepath.Join(dir, "ns", "pid"))
			if err != nil {
				continue // it has ended
			}
			environ, _ := os.ReadFile(filepath.Join(dir, "environ"))
			cmdline, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
			has := strings.Contains(string(environ)+string(cmdline), args[0])
			if has && ns == own {
				ts.Fatalf("a process of the host has it: %q", cmdline)
			}
			inside = inside || has
		}
		if inside {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	ts.Fatalf("no process in a machine has it")
}

// address ADDRESS gives this host an address, until the script ends.
func cmdAddress(ts *testscript.TestScript, _ bool, args []string) {
	lo, err := netlink.LinkByName("lo")
	ts.Check(err)
	addr, err := netlink.ParseAddr(args[0] + "/32")
	ts.Check(err)
	ts.Check(netlink.AddrReplace(lo, addr))
	ts.Defer(func() { netlink.AddrDel(lo, addr) })
}
