package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// tools is the directory of what the scripts run: the real bottlebuild, the
// example's server, and fakes.
var tools string

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bottlebuild-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	tools = dir
	for name, pkg := range map[string]string{
		"bottlebuild": ".", "server": "../../examples/server", "fakesmolvm": "../../tasks/smolvm/fakesmolvm",
		"fakesmolvm-pull": "../../tasks/smolvm/fakesmolvm/pull",
		"probe":           "./testdata/probe", "guest": "../../tasks/backendtest/guest", "proxy": "../../examples/agent/proxy",
	} {
		cmd := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build %s: %v\n%s", pkg, err, out)
			return 1
		}
	}
	return m.Run()
}

// registryV3 is distribution's registry, version 3, which Debian does not have:
// see testregistry/go.mod.
var registryV3, _ = filepath.Abs("../../bin/registry-v3")

// TestScripts runs the stories in testdata/script. They need root, runc,
// docker-registry and skopeo.
func TestScripts(t *testing.T) {
	for _, c := range []string{"runc", "skopeo", "docker-registry", "busybox"} {
		if _, err := exec.LookPath(c); err != nil {
			missing(t, c+" is not installed")
		}
	}
	if os.Geteuid() != 0 {
		missing(t, "this is not run as root")
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup:               setUp,
		Condition: func(cond string) (bool, error) {
			if cond != "kvm" { // smolvm's preflight wants the real thing
				return false, fmt.Errorf("there is no condition %q", cond)
			}
			f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
			if err != nil {
				return false, nil
			}
			return true, f.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "node": cmdNode, "counts": cmdCounts, "daemons": cmdDaemons,
			"registry": cmdRegistry, "setbytes": cmdSetBytes, "freeport": cmdFreePort,
			"fulldisk": cmdFullDisk, "interrupt": cmdInterrupt, "interrupttwice": cmdInterruptTwice, "dead": cmdDead, "web": cmdWeb,
			"killforwarder": cmdKillForwarder, "snapshot": cmdSnapshot, "recorded": cmdRecorded,
			"moved": cmdMoved, "example": cmdExample, "reboot": cmdReboot, "together": cmdTogether, "inmachine": cmdInMachine, "address": cmdAddress,
			"terminal": cmdTerminal, "searched": cmdSearched, "found": cmdFound,
		},
	})
}

func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("BOTTLEBUILD_REQUIRE") == "1" {
		t.Fatal(what + ", and BOTTLEBUILD_REQUIRE=1 wants everything tested")
	}
	t.Skip(what)
}

// setUp gives a script a cache and machines of its own, which end with it.
func setUp(env *testscript.Env) error {
	bottlebuild := filepath.Join(tools, "bottlebuild")
	env.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("TOOLS", tools)
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		return err
	}
	env.Setenv("EXAMPLES", examples)
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("BOTTLEBUILD_CACHE", filepath.Join(env.WorkDir, ".cache"))
	env.Setenv("BOTTLEBUILD_STATE", filepath.Join(env.WorkDir, ".state"))
	vars := append(os.Environ(), env.Vars...)
	env.Defer(func() {
		states, _ := filepath.Glob(filepath.Join(env.WorkDir, ".state*")) // of several hosts
		for _, state := range states {
			cmd := exec.Command(bottlebuild, "down", "--all")
			cmd.Env = append(vars, "BOTTLEBUILD_STATE="+state)
			if out, err := cmd.CombinedOutput(); err != nil {
				panic(fmt.Sprintf("bottlebuild down --all: %v\n%s", err, out))
			}
		}
		for _, pid := range daemonsBelow(env.WorkDir) {
			syscall.Kill(pid, syscall.SIGTERM)
			for syscall.Kill(pid, 0) == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	return nil
}

// daemonsBelow returns the embedded BuildKit daemons whose state is below dir.
func daemonsBelow(dir string) (pids []int) {
	proc, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range proc {
		b, _ := os.ReadFile(p)
		args := strings.Split(string(b), "\x00")
		if len(args) > 3 && args[1] == daemonCommand && strings.HasPrefix(args[3], dir+"/") {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// exits CODE COMMAND ARG… runs a command that has to leave with that code.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND ARG...")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if e, ok := err.(*exec.ExitError); ok {
		code = e.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

func readMetadata(ts *testscript.TestScript, file string) (m metadata) {
	if err := json.Unmarshal([]byte(ts.ReadFile(file)), &m); err != nil {
		ts.Fatalf("%s: %v", file, err)
	}
	return m
}

// node FILE ADDRESS STATUS [ACTION] checks what a metadata file says of a node.
func cmdNode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: node FILE ADDRESS STATUS [ACTION]")
	}
	n, ok := readMetadata(ts, args[0]).Nodes[args[1]]
	if !ok || string(n.Status) != args[2] || len(args) > 3 && n.Action != args[3] {
		ts.Fatalf("%s is %+v", args[1], n)
	}
}

// counts FILE KIND STATUS N checks how many nodes of a kind ended in a status;
// the kind * is every one.
func cmdCounts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: counts FILE KIND STATUS N")
	}
	n := 0
	for _, m := range readMetadata(ts, args[0]).Nodes {
		if (args[1] == "*" || m.Kind == args[1]) && string(m.Status) == args[2] {
			n++
		}
	}
	if strconv.Itoa(n) != args[3] {
		ts.Fatalf("%d nodes of kind %s %s, want %s:\n%s", n, args[1], args[2], args[3], ts.ReadFile(args[0]))
	}
}

// daemons N checks how many embedded BuildKit daemons the script has running;
// "daemons kill" kills them.
func cmdDaemons(ts *testscript.TestScript, neg bool, args []string) {
	pids := daemonsBelow(ts.Getenv("WORK"))
	switch {
	case neg || len(args) != 1:
		ts.Fatalf("usage: daemons N|kill")
	case args[0] == "kill":
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
			for syscall.Kill(pid, 0) == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
	case args[0] != strconv.Itoa(len(pids)):
		ts.Fatalf("%d daemons run: %v", len(pids), pids)
	}
}

// registry VAR [v3] starts Debian's docker-registry, or distribution v3, and sets
// VAR to its address, and VAR_PID to its process. Its data is in .registry, or
// .registry-v3.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 || len(args) == 2 && args[1] != "v3" {
		ts.Fatalf("usage: registry VAR [v3]")
	}
	addr := freeAddress(ts)
	program, data := "docker-registry", ".registry"
	if len(args) == 2 {
		program, data = registryV3, ".registry-v3"
		if _, err := os.Stat(program); err != nil {
			ts.Fatalf("distribution v3 is not there; build it with: make bin/registry-v3")
		}
	}
	config := ts.MkAbs(data + ".yml")
	ts.Check(os.WriteFile(config, fmt.Appendf(nil,
		"version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %s}\n",
		ts.MkAbs(data), addr), 0o600))
	cmd := exec.Command(program, "serve", config)
	ts.Check(cmd.Start())
	ts.Defer(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 200 {
		if res, err := http.Get("http://" + addr + "/v2/"); err == nil {
			res.Body.Close()
			ts.Setenv(args[0], addr)
			ts.Setenv(args[0]+"_PID", strconv.Itoa(cmd.Process.Pid))
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%s does not answer", program)
}

// example DIR copies the example, with its server.
func cmdExample(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: example DIR")
	}
	to := ts.MkAbs(args[0])
	ts.Check(os.CopyFS(to, os.DirFS("../../examples")))
	server, err := os.ReadFile(filepath.Join(tools, "server"))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(to, "images", "web", "server"), server, 0o755))
}

// moved FILE fetched|pushed LEAST MOST checks how many bytes a metadata file says
// were moved to or from the shared cache, and prints that.
func cmdMoved(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 4 {
		ts.Fatalf("usage: moved FILE fetched|pushed LEAST MOST")
	}
	s := readMetadata(ts, args[0]).SharedCache
	if s == nil {
		ts.Fatalf("%s tells of no shared cache", args[0])
	}
	n := map[string]int64{"fetched": s.FetchedBytes, "pushed": s.PushedBytes}[args[1]]
	ts.Logf("%s %d bytes: %+v", args[1], n, *s)
	least, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	most, err := strconv.ParseInt(args[3], 10, 64)
	ts.Check(err)
	if n < least || n > most {
		ts.Fatalf("%s %d bytes, want %d to %d", args[1], n, least, most)
	}
}

func freeAddress(ts *testscript.TestScript) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	return l.Addr().String()
}

// freeport VAR… sets variables to ports that nobody uses.
func cmdFreePort(ts *testscript.TestScript, _ bool, args []string) {
	for _, v := range args {
		_, port, err := net.SplitHostPort(freeAddress(ts))
		ts.Check(err)
		ts.Setenv(v, port)
	}
}

// setbytes FILE TEXT replaces the start of a file and keeps size, mode and
// modification time.
func cmdSetBytes(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	fi, err := os.Stat(path)
	ts.Check(err)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt([]byte(args[1]), 0)
	ts.Check(err)
	ts.Check(f.Close())
	ts.Check(os.Chtimes(path, fi.ModTime(), fi.ModTime()))
}

// fulldisk DIR SIZE mounts a file system of that size (as of mount's size=) on DIR.
func cmdFullDisk(ts *testscript.TestScript, _ bool, args []string) {
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o700))
	ts.Check(syscall.Mount("tmpfs", dir, "tmpfs", 0, "mode=700,size="+args[1]))
	ts.Defer(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}

// interrupt CODE PATTERN COMMAND… runs a command, sends it SIGINT when its
// standard error holds the pattern, and checks its exit code.
func cmdInterrupt(ts *testscript.TestScript, _ bool, args []string) {
	cmd := exec.Command(filepath.Join(tools, args[2]), args[3:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, v := range []string{"PATH", "HOME", "BOTTLEBUILD_CACHE", "BOTTLEBUILD_STATE", "WORK"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	var seen []byte
	buf := make([]byte, 4096)
	sent := false
	for {
		n, err := stderr.Read(buf)
		seen = append(seen, buf[:n]...)
		if !sent && strings.Contains(string(seen), args[1]) {
			sent = true
			ts.Check(cmd.Process.Signal(os.Interrupt))
		}
		if err == io.EOF {
			break
		}
		ts.Check(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); !sent || strconv.Itoa(code) != args[0] {
		ts.Fatalf("interrupted: %v, exit code %d, it printed:\n%s", sent, code, seen)
	}
}

// killforwarder MACHINE kills the process that carries a machine's ports.
func cmdKillForwarder(ts *testscript.TestScript, _ bool, args []string) {
	b, err := os.ReadFile(filepath.Join(ts.Getenv("BOTTLEBUILD_STATE"), "machines", "machines", args[0], "run.json"))
	ts.Check(err)
	var run struct{ Forwarder struct{ PID int } }
	ts.Check(json.Unmarshal(b, &run))
	ts.Check(syscall.Kill(run.Forwarder.PID, syscall.SIGKILL))
}
