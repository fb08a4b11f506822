package backendtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"bottlebuild/tasks/backend"
)

// streamTests are of commands at the edges: what goes in and out in bulk, how
// they end, and what they say that could be taken for the backend's own words.
var streamTests = []testCase{
	{"ExecEveryExitCode", nil, testEveryExitCode},
	{"ExecKilledBySignal", nil, testKilledBySignal},
	{"ExecBinaryInput", nil, testBinaryInput},
	{"ExecMuchInput", nil, testMuchInput},
	{"ExecMuchOnBothStreams", nil, testBothStreams},
	{"ExecMuchOutputWithInput", nil, testMuchOutputWithInput},
	{"ExecWordsOfTheBackend", nil, testWords},
	{"ExecOddEnv", nil, testOddEnv},
	{"ExecLargeEnv", nil, testLargeEnv},
	{"ExecOddSecrets", nil, testOddSecrets},
	{"ExecSecretOverEnv", nil, testSecretOverEnv},
	{"ExecManyArguments", nil, testManyArguments},
	{"ExecOddWorkdir", nil, testOddWorkdir},
	{"ExecHomeOfRoot", noUser, testHomeOfRoot},
	{"ExecDeadline", nil, testDeadline},
	{"ExecLeavesDaemon", nil, testDaemon},
	{"ExecRejects", nil, testExecRejects},
}

func testEveryExitCode(t *testing.T, f *fixture) {
	name := f.shared(t)
	codes := []int{3, 63, 64, 100, 123, 128, 129, 137, 143, 200, 254}
	if testing.Short() {
		codes = codes[:3]
	}
	for _, code := range codes {
		if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "exit", strconv.Itoa(code)}}); r.Code != code {
			t.Errorf("exit %d: %+v", code, r)
		}
	}
}

func testKilledBySignal(t *testing.T, f *fixture) {
	name := f.shared(t)
	for _, signal := range []int{9, 15} {
		if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "die", strconv.Itoa(signal)}}); r.Code != 128+signal {
			t.Errorf("killed by signal %d: code %d, want %d as a shell has it", signal, r.Code, 128+signal)
		}
	}
}

func testBinaryInput(t *testing.T, f *fixture) {
	name := f.shared(t)
	in := make([]byte, 0, 3*256+1<<16)
	for range 3 {
		for b := range 256 {
			in = append(in, byte(b))
		}
	}
	noise := make([]byte, 1<<16)
	rand.Read(noise)
	in = append(in, noise...)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "cat"}, Stdin: bytes.NewReader(in)}); r.Code != 0 || r.Stdout != string(in) {
		t.Errorf("cat returned %d and %d bytes, not the %d that it was given", r.Code, len(r.Stdout), len(in))
	}
}

func sumOf(b []byte) string { return fmt.Sprintf("%x %d\n", sha256.Sum256(b), len(b)) }

func testMuchInput(t *testing.T, f *fixture) {
	name := f.shared(t)
	in := make([]byte, 16<<20)
	rand.Read(in)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "sum"}, Stdin: bytes.NewReader(in)}); r.Stdout != sumOf(in) {
		t.Errorf("sum of the input = %+v, want %s", r, sumOf(in))
	}
}

func testBothStreams(t *testing.T, f *fixture) {
	name := f.shared(t)
	const size = 12 << 20 // of each, more than smolvm takes without --stream
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "flood", strconv.Itoa(size)}})
	if r.Code != 0 || strings.Count(r.Stdout, "o") != size || strings.Count(r.Stderr, "e") != size || len(r.Stdout)+len(r.Stderr) != 2*size {
		t.Errorf("flood returned %d, %d and %d bytes, want %d of each", r.Code, len(r.Stdout), len(r.Stderr), size)
	}
}

func testMuchOutputWithInput(t *testing.T, f *fixture) {
	name := f.shared(t)
	in := bytes.Repeat([]byte("0123456789abcdef"), 12<<20/16)
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "cat"}, Stdin: bytes.NewReader(in)})
	if r.Code != 0 || r.Stdout != string(in) {
		t.Errorf("cat returned %d and %d bytes, want %d", r.Code, len(r.Stdout), len(in))
	}
}

// testWords has commands fail with lines that backends begin their own errors by.
func testWords(t *testing.T, f *fixture) {
	name := f.shared(t)
	for _, words := range []string{"Error: no such module", "error: bad input", "Error: something\nwent wrong", "container runtime: oops", "runc run failed: x", "OCI runtime exec failed: x"} {
		r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "fail", words}})
		if r.Code != 1 || r.Stderr != words+"\n" {
			t.Errorf("%q: %+v", words, r)
		}
	}
}

// oddValues are values that shells, formats and flags stumble over.
var oddValues = map[string]string{
	"NEWLINE": "a\nb\n", "EQUALS": "a=b==c", "DASH": "--net", "QUOTES": `'"'"` + "`$(id)`", "SPACE": "  a  ", "EMPTY_": "",
	"UNICODE": "ä☃\u202e", "CONTROL": "\x01\x1b[31m\x7f", "COMMA": "a,b;c",
}

func printed(values map[string]string, names []string) string {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n + "=" + values[n] + "\n")
	}
	return b.String()
}

func testOddEnv(t *testing.T, f *fixture) {
	name := f.shared(t)
	names := []string{"NEWLINE", "EQUALS", "DASH", "QUOTES", "SPACE", "EMPTY_", "UNICODE", "CONTROL", "COMMA"}
	r := f.exec(t, name, backend.Exec{Args: append([]string{"/bin/guest", "env"}, names...), Env: oddValues})
	if want := printed(oddValues, names); r.Stdout != want {
		t.Errorf("environment = %q, want %q", r.Stdout, want)
	}
}

func testLargeEnv(t *testing.T, f *fixture) {
	name := f.shared(t)
	env := map[string]string{"LONG": strings.Repeat("0123456789abcdef", 4<<10)} // 64 KiB
	names := []string{"LONG"}
	for i := range 200 {
		n := fmt.Sprintf("VARIABLE_%d", i)
		env[n] = strings.Repeat("v", i)
		names = append(names, n)
	}
	r := f.exec(t, name, backend.Exec{Args: append([]string{"/bin/guest", "env"}, names...), Env: env})
	if want := printed(env, names); r.Stdout != want {
		t.Errorf("code %d and %d bytes of environment, want %d; stderr %q", r.Code, len(r.Stdout), len(want), r.Stderr)
	}
}

func testOddSecrets(t *testing.T, f *fixture) {
	name := f.shared(t)
	names := []string{"NEWLINE", "EQUALS", "DASH", "QUOTES", "SPACE", "EMPTY_", "UNICODE", "COMMA"}
	r := f.exec(t, name, backend.Exec{Args: append([]string{"/bin/guest", "env"}, names...), SecretEnv: oddValues})
	if want := printed(oddValues, names); r.Stdout != want {
		t.Errorf("environment = %q, want %q", r.Stdout, want)
	}
}

// testSecretOverEnv has a secret of a name that image and machine have too.
func testSecretOverEnv(t *testing.T, f *fixture) {
	name := f.shared(t)
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "env", "BOTH", "IMAGE"}, SecretEnv: map[string]string{"BOTH": "secret", "IMAGE": "secret too"}})
	if r.Stdout != "BOTH=secret\nIMAGE=secret too\n" {
		t.Errorf("environment = %q", r.Stdout)
	}
}

func testManyArguments(t *testing.T, f *fixture) {
	name := f.shared(t)
	var args []string
	var want strings.Builder
	for i := range 2000 {
		args = append(args, strconv.Itoa(i))
		fmt.Fprintf(&want, "%q\n", strconv.Itoa(i))
	}
	args = append(args, strings.Repeat("x", 100_000))
	fmt.Fprintf(&want, "%q\n", args[2000])
	if r := f.exec(t, name, backend.Exec{Args: append([]string{"/bin/guest", "args"}, args...)}); r.Stdout != want.String() {
		t.Errorf("code %d and %d bytes, want %d", r.Code, len(r.Stdout), want.Len())
	}
}

func testOddWorkdir(t *testing.T, f *fixture) {
	name := f.shared(t)
	const dir = "/work dir/ä -x"
	f.guest(t, name, "mkdir", dir)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "pwd"}, Workdir: dir}); r.Stdout != dir+"\n" {
		t.Errorf("pwd = %+v", r)
	}
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "pwd"}, Workdir: "/etc/passwd"}); r.Code == 0 {
		t.Errorf("in a file: %+v", r)
	}
}

func testHomeOfRoot(t *testing.T, f *fixture) {
	name := f.shared(t)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "env", "HOME"}, User: "root"}); r.Stdout != "HOME=/root\n" {
		t.Errorf("HOME of root: %+v", r)
	}
	env := map[string]string{"HOME": "/dir"}
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "env", "HOME"}, User: "node", Env: env}); r.Stdout != "HOME=/dir\n" {
		t.Errorf("HOME that is given: %+v", r)
	}
}

// testDeadline has a command that outlives the caller's patience.
func testDeadline(t *testing.T, f *fixture) {
	name := f.shared(t)
	f.guest(t, name, "true")
	out := newWatch("holding")
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	deadline := errors.New("the time is over")
	go func() {
		select {
		case <-out.seen:
		case <-time.After(time.Minute):
		}
		cancel(deadline)
	}()
	_, err := f.b.Exec(ctx, name, backend.Exec{Args: []string{"/bin/guest", "hold", "/tmp/deadline-lock"}, User: f.root(), Stdout: out})
	if !errors.Is(err, deadline) && !errors.Is(err, context.Canceled) {
		t.Errorf("Exec = %v, want one that wraps why the context ended", err)
	}
	poll(t, "the command is gone", func() bool {
		return f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "held", "/tmp/deadline-lock"}}).Code == 1
	})
}

// testDaemon has a command leave a process, which must hold up nobody and stay.
func testDaemon(t *testing.T, f *fixture) {
	name := f.shared(t)
	f.guest(t, name, "detach", "hold", "/tmp/daemon-lock")
	poll(t, "the daemon is there", func() bool {
		return f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "held", "/tmp/daemon-lock"}}).Code == 0
	})
}

func testExecRejects(t *testing.T, f *fixture) {
	name := f.shared(t)
	for what, e := range map[string]backend.Exec{
		"no command":        {},
		"user like a flag":  {Args: []string{"/bin/guest", "true"}, User: "--tty"},
		"variable with =":   {Args: []string{"/bin/guest", "true"}, Env: map[string]string{"A=B": "x"}},
		"NUL in a variable": {Args: []string{"/bin/guest", "true"}, Env: map[string]string{"A": "x\x00y"}},
		"NUL in a secret":   {Args: []string{"/bin/guest", "true"}, SecretEnv: map[string]string{"A": "x\x00y"}},
	} {
		if code, err := f.b.Exec(t.Context(), name, e); err == nil && code == 0 {
			t.Errorf("%s: Exec = %d, nil", what, code)
		}
	}
}
