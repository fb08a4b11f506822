//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxBuffered is what exec takes of output that is not streamed.
const maxBuffered = 11 << 20

// codeTimeout is the exit code of a command that took too long.
const codeTimeout = 124

func machineExec(p *parsed) error {
	m, err := running(p.get("name"))
	if err != nil {
		return err
	}
	req := request{Args: p.trailing, User: p.get("user"), TTY: p.has("tty"), Workdir: m.Workdir}
	if p.has("workdir") {
		req.Workdir = p.get("workdir")
	}
	// What "machine create -e" said is for the workload and does not get here.
	if fault("exec:otheruser") {
		req.User = ""
	}
	if fault("exec:otherdir") {
		req.Workdir = "/"
	}
	req.Env = append(req.Env, m.ImageEnv...)
	secrets, err := secretEnv(p)
	if err != nil {
		return err
	}
	req.Env = append(req.Env, secrets...)
	for _, kv := range p.values["env"] {
		if fault("exec:lostenv") {
			break
		}
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			return fmt.Errorf("config operation failed: --env: expected KEY=VALUE, got '%s'", kv)
		}
		req.Env = append(req.Env, kv)
	}
	var timeout <-chan time.Time
	if p.has("timeout") {
		seconds, err := strconv.ParseFloat(strings.TrimSuffix(p.get("timeout"), "s"), 64)
		if err != nil {
			return usageError("invalid value for '--timeout <DURATION>'")
		}
		timeout = time.After(time.Duration(seconds * float64(time.Second)))
	}
	stdin := os.Stdin
	if !p.has("interactive") {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return err
		}
	}
	buffered := !p.has("stream") && !p.has("interactive") && !p.has("tty")
	code, err := runInAgent(m.Name, req, stdin, buffered, timeout)
	if err != nil {
		if p.has("stream") {
			fmt.Fprintf(os.Stderr, "error: %v\n", err)
			return exitError(1)
		}
		return fmt.Errorf("agent operation failed: exec: %w", err)
	}
	if code != 0 {
		return exitError(code)
	}
	return nil
}

func running(name string) (*machine, error) {
	m, err := load(name)
	if err != nil {
		return nil, err
	}
	if !m.alive() {
		return nil, fmt.Errorf("agent operation failed: connect: machine '%s' is not running", m.Name)
	}
	return m, nil
}

func secretEnv(p *parsed) ([]string, error) {
	var env []string
	seen := map[string]bool{}
	for _, s := range p.values["secret-env"] {
		guest, host, ok := strings.Cut(s, "=")
		if !ok || guest == "" || seen[guest] {
			return nil, fmt.Errorf("config operation failed: --secret-env: bad reference '%s'", s)
		}
		seen[guest] = true
		v, ok := os.LookupEnv(host)
		if !ok {
			return nil, fmt.Errorf("config operation failed: --secret-env: host variable '%s' is not set", host)
		}
		env = append(env, guest+"="+v)
	}
	for _, s := range p.values["secret-file"] {
		guest, path, _ := strings.Cut(s, "=")
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("config operation failed: --secret-file: %w", err)
		}
		env = append(env, guest+"="+string(b))
	}
	return env, nil
}

// runInAgent has the agent run a command. Its output goes through pipes of this
// process's, so that what outlives the command does not hold this process's own.
func runInAgent(name string, req request, stdin *os.File, buffered bool, timeout <-chan time.Time) (int, error) {
	conn, err := dialAgent(name)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	var outputs [2]output
	for i, to := range []*os.File{os.Stdout, os.Stderr} {
		if err := outputs[i].open(to, buffered); err != nil {
			return 0, err
		}
	}
	if err := send(conn, req, stdin, outputs[0].w, outputs[1].w); err != nil {
		return 0, err
	}
	outputs[0].w.Close()
	outputs[1].w.Close()
	// The agent ends the command when this process goes, by whatever signal.
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	answers := make(chan reply, 1)
	go func() {
		r := reply{Error: "the machine went away"}
		json.NewDecoder(conn).Decode(&r)
		answers <- r
	}()
	var r reply
	select {
	case <-end:
		return 128 + int(syscall.SIGTERM), nil
	case <-timeout:
		return codeTimeout, nil
	case r = <-answers:
	}
	if r.Error != "" {
		return 0, errors.New(r.Error)
	}
	return r.Code, errors.Join(outputs[0].finish(), outputs[1].finish())
}

func send(conn *net.UnixConn, req request, files ...*os.File) error {
	b, err := json.Marshal(req)
	if err != nil {
		return err
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	first := min(len(b), 4096)
	if _, _, err := conn.WriteMsgUnix(b[:first], unix.UnixRights(fds...), nil); err != nil {
		return err
	}
	if first < len(b) {
		_, err = conn.Write(b[first:])
	}
	return err
}

// output is a pipe to one of this process's outputs.
type output struct {
	w        *os.File
	to       *os.File
	buffered bool
	copied   chan struct{}

	mu   sync.Mutex
	held []byte
	over bool
}

func (o *output) open(to *os.File, buffered bool) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	o.w, o.to, o.buffered, o.copied = w, to, buffered, make(chan struct{})
	go func() {
		io.Copy(o, r)
		close(o.copied)
	}()
	return nil
}

func (o *output) Write(p []byte) (int, error) {
	if !o.buffered {
		return o.to.Write(p)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.held)+len(p) > maxBuffered {
		o.over = true
		return len(p), nil
	}
	o.held = append(o.held, p...)
	return len(p), nil
}

// afterExit is how long output may come from what outlives its command.
const afterExit = 200 * time.Millisecond

func (o *output) finish() error {
	select {
	case <-o.copied:
	case <-time.After(afterExit):
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.over {
		return errors.New("response too large: over 11 MiB, use --stream")
	}
	_, err := o.to.Write(o.held)
	return err
}

// machineCopy copies a file of the host into a machine.
func machineCopy(p *parsed) error {
	name, to, ok := strings.Cut(p.operands[1], ":")
	if !ok || !strings.HasPrefix(to, "/") {
		return fmt.Errorf("config operation failed: cp: expected NAME:/path, got '%s'", p.operands[1])
	}
	m, err := running(name)
	if err != nil {
		return err
	}
	src, err := os.Open(p.operands[0])
	if err != nil {
		return fmt.Errorf("config operation failed: cp: %w", err)
	}
	defer src.Close()
	if fi, err := src.Stat(); err != nil || !fi.Mode().IsRegular() {
		return errors.New("config operation failed: cp: only single files can be copied")
	}
	conn, err := dialAgent(m.Name)
	if err != nil {
		return err
	}
	defer conn.Close()
	req := request{CopyTo: to, Mode: 0o644}
	if p.has("mode") {
		mode, err := strconv.ParseUint(strings.TrimPrefix(p.get("mode"), "0o"), 8, 12)
		if err != nil {
			return fmt.Errorf("config operation failed: cp: invalid octal mode '%s'", p.get("mode"))
		}
		req.Mode = uint32(mode)
	}
	if req.UID, err = p.number("uid", 0); err != nil {
		return err
	}
	if req.GID, err = p.number("gid", 0); err != nil {
		return err
	}
	if err := send(conn, req, src, os.Stdout, os.Stderr); err != nil {
		return err
	}
	var r reply
	if err := json.NewDecoder(conn).Decode(&r); err != nil {
		return fmt.Errorf("agent operation failed: cp: %w", err)
	}
	if r.Error != "" {
		return fmt.Errorf("agent operation failed: cp: %s", r.Error)
	}
	return nil
}
