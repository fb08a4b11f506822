package backendtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"bottlebuild/tasks/backend"
)

func noUser(h Harness) bool { return h.NoUser }

var execTests = []testCase{
	{"ExecExitCodes", nil, testExitCodes},
	{"ExecStreams", nil, testStreams},
	{"ExecStdin", nil, testStdin},
	{"ExecWithoutStdin", nil, testNoStdin},
	{"ExecMuchOutput", nil, testMuchOutput},
	{"ExecArguments", nil, testArguments},
	{"ExecEnv", nil, testExecEnv},
	{"ExecSecretEnv", nil, testSecretEnv},
	{"ExecWorkdir", nil, testWorkdir},
	{"ExecImageUser", noUser, testImageUser},
	{"ExecUsers", noUser, testUsers},
	{"ExecUnknownUser", noUser, testUnknownUser},
	{"ExecSearchesPath", nil, testExecPath},
	{"ExecNoSuchCommand", nil, testNoSuchCommand},
	{"ExecInStoppedMachine", nil, testExecStopped},
	{"ExecAtOnce", nil, testExecAtOnce},
	{"ExecCancel", nil, testExecCancel},
	{"ExecTerminal", func(h Harness) bool { return !h.TTY }, testExecTerminal},
}

func testExitCodes(t *testing.T, f *fixture) {
	name := f.shared(t)
	for _, code := range []string{"0", "1", "2", "42", "124", "125", "126", "127", "255"} {
		r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "exit", code}})
		if diff := cmp.Diff(atoi(code), r.Code); diff != "" {
			t.Errorf("exit %s (-want +got):\n%s", code, diff)
		}
	}
}

func atoi(s string) (n int) {
	for _, c := range s {
		n = 10*n + int(c-'0')
	}
	return n
}

func testStreams(t *testing.T, f *fixture) {
	name := f.shared(t)
	got := []result{
		f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "echo", "to stdout"}}),
		f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "warn", "to stderr"}}),
	}
	want := []result{{0, "to stdout\n", ""}, {0, "", "to stderr\n"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	code, err := f.b.Exec(t.Context(), name, backend.Exec{Args: []string{"/bin/guest", "echo", "dropped"}})
	if code != 0 || err != nil {
		t.Errorf("without writers: %d, %v", code, err)
	}
}

func testStdin(t *testing.T, f *fixture) {
	name := f.shared(t)
	in := strings.Repeat("a line of input\n", 20_000)
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "cat"}, Stdin: strings.NewReader(in)})
	if r.Code != 0 || r.Stdout != in {
		t.Errorf("cat returned %d and %d bytes, want 0 and %d bytes as they were", r.Code, len(r.Stdout), len(in))
	}
	// A command that does not read, and one whose input never ends.
	pr, pw := io.Pipe()
	defer pw.Close()
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "echo", "done"}, Stdin: pr}); r.Stdout != "done\n" {
		t.Errorf("with input that does not end: %+v", r)
	}
}

func testNoStdin(t *testing.T, f *fixture) {
	name := f.shared(t)
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "cat"}}); r.Code != 0 || r.Stdout != "" {
		t.Errorf("cat without input = %+v", r)
	}
}

func testMuchOutput(t *testing.T, f *fixture) {
	name := f.shared(t)
	const size = 16 << 20 // more than smolvm takes without --stream
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "yes", "16777216"}})
	if r.Code != 0 || len(r.Stdout) != size || strings.Count(r.Stdout, "y\n") != size/2 {
		t.Errorf("yes returned %d and %d bytes, want %d", r.Code, len(r.Stdout), size)
	}
}

func testArguments(t *testing.T, f *fixture) {
	name := f.shared(t)
	args := []string{"", " ", "-v", "--", "a b", "$HOME", "`id`", "\"'\\", "line\nbreak", "ä☃", "*", "A=b"}
	r := f.exec(t, name, backend.Exec{Args: append([]string{"/bin/guest", "args"}, args...)})
	want := `""` + "\n" + `" "` + "\n" + `"-v"` + "\n" + `"--"` + "\n" + `"a b"` + "\n" + `"$HOME"` + "\n" + "\"`id`\"\n" +
		`"\"'\\"` + "\n" + `"line\nbreak"` + "\n" + `"ä☃"` + "\n" + `"*"` + "\n" + `"A=b"` + "\n"
	if diff := cmp.Diff(want, r.Stdout); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func testExecEnv(t *testing.T, f *fixture) {
	name := f.shared(t)
	r := f.exec(t, name, backend.Exec{
		Args:      []string{"/bin/guest", "env", "IMAGE", "MACHINE", "BOTH", "EXEC", "ALL", "SPACE", "EMPTY", "UNSET", "SECRET", "BOTTLEBUILD_BACKENDTEST"},
		Env:       map[string]string{"EXEC": "exec", "ALL": "exec"},
		SecretEnv: map[string]string{"SECRET": "secret"},
	})
	want := "IMAGE=image\nMACHINE=machine\nBOTH=machine\nEXEC=exec\nALL=exec\nSPACE=a b\n$c\nEMPTY=\nUNSET\nSECRET=secret\nBOTTLEBUILD_BACKENDTEST\n"
	if diff := cmp.Diff(want, r.Stdout); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// testSecretEnv looks for a secret in argument lists and in files while the
// command that has it runs.
func testSecretEnv(t *testing.T, f *fixture) {
	name := f.shared(t)
	secret := rand.Text()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newWatch("holding")
	done := make(chan error, 1)
	go func() {
		_, err := f.b.Exec(ctx, name, backend.Exec{
			Args: []string{"/bin/guest", "hold", "/tmp/secret-lock"}, User: f.root(), SecretEnv: map[string]string{"SECRET": secret}, Stdout: out,
		})
		done <- err
	}()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatalf("Exec ended: %v", err)
	}
	lists, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, l := range lists {
		if b, err := os.ReadFile(l); err == nil && bytes.Contains(b, []byte(secret)) {
			t.Errorf("the secret stands in an argument list: %q", b)
		}
	}
	searched := 0
	for _, dir := range []string{f.state, f.store.Dir()} {
		searched += findInFiles(t, dir, secret)
	}
	if searched == 0 {
		t.Error("there was no file to search")
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Exec = %v, want one that wraps context.Canceled", err)
	}
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "env", "SECRET"}})
	if r.Stdout != "SECRET\n" {
		t.Errorf("the next command sees %q", r.Stdout)
	}
}

func (f *fixture) root() string {
	if f.h.NoUser {
		return ""
	}
	return "root"
}

// findInFiles reports files below dir that hold the text, and returns how many it read.
func findInFiles(t *testing.T, dir, text string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // files come and go
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		n++
		if bytes.Contains(b, []byte(text)) {
			t.Errorf("the secret stands in %s", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	return n
}

// watch is a writer that tells when it has seen a text.
type watch struct {
	text string
	seen chan struct{}
	mu   sync.Mutex
	buf  bytes.Buffer
	done bool
}

func newWatch(text string) *watch { return &watch{text: text, seen: make(chan struct{})} }

func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if !w.done && strings.Contains(w.buf.String(), w.text) {
		w.done = true
		close(w.seen)
	}
	return len(p), nil
}

func testWorkdir(t *testing.T, f *fixture) {
	name := f.shared(t)
	for dir, want := range map[string]string{"": "/home/node", "/dir": "/dir", "/": "/"} {
		if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "pwd"}, Workdir: dir}); r.Stdout != want+"\n" {
			t.Errorf("workdir %q: %+v, want %q", dir, r, want)
		}
	}
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "pwd"}, Workdir: "/absent"}); r.Code == 0 {
		t.Errorf("workdir that is not there: %+v", r)
	}
}

func testImageUser(t *testing.T, f *fixture) {
	name := f.shared(t)
	r := f.execAsIs(t, name, backend.Exec{Args: []string{"/bin/guest", "id"}})
	if r.Stdout != "uid=1000 gid=1000 groups=50,1000\n" && r.Stdout != "uid=1000 gid=1000 groups=50\n" {
		t.Errorf("id = %+v", r)
	}
	if r := f.execAsIs(t, name, backend.Exec{Args: []string{"/bin/guest", "write", "/etc/passwd", "x"}}); r.Code == 0 {
		t.Error("the image's user can write to /etc/passwd")
	}
}

func testUsers(t *testing.T, f *fixture) {
	name := f.shared(t)
	for user, want := range map[string]string{
		"root": "uid=0 gid=0 ", "0": "uid=0 gid=0 ",
		"node": "uid=1000 gid=1000 ", "1000": "uid=1000 gid=1000 ",
		"node:staff": "uid=1000 gid=50 ", "1000:50": "uid=1000 gid=50 ", "1234:2345": "uid=1234 gid=2345 ",
	} {
		if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "id"}, User: user}); !strings.HasPrefix(r.Stdout, want) {
			t.Errorf("user %s: %+v, want %q", user, r, want)
		}
	}
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "env", "HOME"}, User: "node"})
	if r.Stdout != "HOME=/home/node\n" {
		t.Errorf("HOME of node: %+v", r)
	}
}

func testUnknownUser(t *testing.T, f *fixture) {
	name := f.shared(t)
	var stderr bytes.Buffer
	code, err := f.b.Exec(t.Context(), name, backend.Exec{Args: []string{"/bin/guest", "id"}, User: "nobody-knows", Stderr: &stderr})
	if err == nil && code == 0 {
		t.Fatal("Exec as an unknown user succeeded")
	}
	msg := stderr.String()
	if err != nil {
		msg += err.Error()
	}
	if !strings.Contains(msg, "nobody-knows") {
		t.Errorf("code %d, message %q, want the user's name in it", code, msg)
	}
}

func testExecPath(t *testing.T, f *fixture) {
	name := f.shared(t)
	if r := f.exec(t, name, backend.Exec{Args: []string{"echo", "found"}}); r.Stdout != "found\n" {
		t.Errorf("echo found by PATH: %+v", r)
	}
}

func testNoSuchCommand(t *testing.T, f *fixture) {
	name := f.shared(t)
	for _, tc := range []struct {
		command string
		want    int
	}{{"absent", 127}, {"/bin/absent", 127}, {"/etc/passwd", 126}, {"/etc", 126}} {
		r := f.exec(t, name, backend.Exec{Args: []string{tc.command}})
		if r.Code != tc.want || !strings.Contains(r.Stderr, tc.command) {
			t.Errorf("%s: %+v, want code %d and a message that names it", tc.command, r, tc.want)
		}
	}
}

func testExecStopped(t *testing.T, f *fixture) {
	name := f.create(t, nil)
	for range 2 {
		if code, err := f.b.Exec(t.Context(), name, backend.Exec{Args: []string{"/bin/guest", "true"}}); err == nil {
			t.Errorf("Exec in a machine that does not run = %d, nil", code)
		}
		f.mustStart(t, name)
		f.mustStop(t, name)
	}
}

func testExecAtOnce(t *testing.T, f *fixture) {
	name := f.shared(t)
	var wg sync.WaitGroup
	for _, word := range []string{"one", "two", "three", "four", "five", "six"} {
		wg.Go(func() {
			var out bytes.Buffer
			code, err := f.b.Exec(t.Context(), name, backend.Exec{Args: []string{"/bin/guest", "cat"}, Stdin: strings.NewReader(word), Stdout: &out})
			if code != 0 || err != nil || out.String() != word {
				t.Errorf("cat %s = %d, %v, %q", word, code, err, &out)
			}
		})
	}
	wg.Wait()
}

// testExecCancel cancels a command that has a child, and wants both gone.
func testExecCancel(t *testing.T, f *fixture) {
	name := f.shared(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := newWatch("holding")
	done := make(chan error, 1)
	go func() {
		_, err := f.b.Exec(ctx, name, backend.Exec{Args: []string{"/bin/guest", "spawn", "hold", "/tmp/lock"}, User: f.root(), Stdout: out})
		done <- err
	}()
	select {
	case <-out.seen:
	case err := <-done:
		t.Fatalf("Exec ended: %v", err)
	}
	f.guest(t, name, "held", "/tmp/lock")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Exec = %v, want one that wraps context.Canceled", err)
	}
	poll(t, "the cancelled command is gone", func() bool {
		return f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "held", "/tmp/lock"}}).Code == 1
	})
	f.wantState(t, name, backend.Running)
}

func testExecTerminal(t *testing.T, f *fixture) {
	name := f.shared(t)
	r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "tty"}, TTY: true})
	want := "/dev/stdin true\r\n/dev/stdout true\r\n/dev/stderr true\r\n"
	if r.Code != 0 || r.Stdout != want {
		t.Errorf("tty = %+v, want %q", r, want)
	}
	if r := f.exec(t, name, backend.Exec{Args: []string{"/bin/guest", "exit", "7"}, TTY: true}); r.Code != 7 {
		t.Errorf("exit 7 on a terminal = %+v", r)
	}
}
