package selftest

import (
	"bytes"
	"context"
	"crypto/rand"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"bottlebuild/tasks/backend"
)

// programs are the executables made from probe.c, by processor.
//
//go:embed probe/probe_amd64 probe/probe_arm64
var programs embed.FS

// probe is the program in a machine.
type probe struct {
	be            backend.Backend
	machine, path string
}

// place copies the program into the machine.
func place(ctx context.Context, be backend.Backend, m Machine) (*probe, error) {
	program, err := programs.ReadFile("probe/probe_" + m.Arch)
	if err != nil {
		return nil, fmt.Errorf("%w: there is no probe for processor %s", ErrImpossible, m.Arch)
	}
	p := &probe{be, m.Name, "/.bottlebuild-probe-" + strings.ToLower(rand.Text()[:8])}
	err = be.CopyIn(ctx, m.Name, backend.File{Path: p.path, Content: program, Mode: 0o755})
	if errors.Is(err, backend.ErrUnsupported) {
		return nil, fmt.Errorf("%w: %w", ErrImpossible, err)
	}
	if err != nil {
		return nil, fmt.Errorf("self-test: %w", err)
	}
	return p, nil
}

// remove has the program remove itself, even when the time is over: it is of no
// use to anybody in the machine.
func (p *probe) remove(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = p.be.Exec(ctx, p.machine, backend.Exec{Args: []string{p.path, "unlink:" + p.path}, User: "0", Workdir: "/"})
}

// maxAnswer bounds what a machine may answer, in bytes.
const maxAnswer = 16 << 20

// run runs the program; the command says all but its arguments.
func (p *probe) run(ctx context.Context, e backend.Exec, ops ...string) (answers, error) {
	out, errs := &bounded{limit: maxAnswer}, &bounded{limit: 4 << 10}
	e.Args, e.Stdout, e.Stderr = append([]string{p.path}, ops...), out, errs
	code, err := p.be.Exec(ctx, p.machine, e)
	switch {
	case errors.Is(err, backend.ErrUnsupported):
		return answers{}, fmt.Errorf("%w: %w", ErrImpossible, err)
	case err != nil:
		return answers{}, err
	case code != 0:
		return answers{}, fmt.Errorf("the probe cannot be run: exit code %d: %s", code, strings.TrimSpace(errs.buf.String()))
	case out.over:
		return answers{}, fmt.Errorf("the machine answered with more than %d bytes", maxAnswer)
	}
	return parseAnswers(out.buf.String())
}

// bounded keeps the first bytes of what is written to it.
type bounded struct {
	buf   bytes.Buffer
	limit int
	over  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.buf.Len(); len(p) > room {
		b.over = true
		b.buf.Write(p[:room])
		return len(p), nil
	}
	return b.buf.Write(p)
}

// answers are what the program printed.
type answers struct {
	uid, gid int
	sameDir  bool
	cwd      string
	env      map[string]string
	files    []fileAnswer
	others   []otherAnswer
	net      []netAnswer
}

type fileAnswer struct {
	errno   int
	content []byte
}

type otherAnswer struct {
	uid  int
	path string
}

// netAnswer tells of one connection.
type netAnswer struct {
	errno  int  // 0: it was answered, or closed in order
	sent   bool // it was made, and the payload was sent
	answer []byte
}

// parseAnswers reads the lines that probe.c describes. A machine that lies in
// them can only fail its own tests, or pass tests of which it would know the
// answers anyway: what leaks is told by this host's own ports.
func parseAnswers(s string) (answers, error) {
	a := answers{env: map[string]string{}}
	for line := range strings.Lines(s) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), " ")
		if err := a.add(f); err != nil {
			return answers{}, fmt.Errorf("the probe's answer %.100q: %w", line, err)
		}
	}
	return a, nil
}

func (a *answers) add(f []string) error {
	var err error
	number := func(i int) int {
		n, nerr := strconv.ParseUint(field(f, i), 10, 32)
		err = errors.Join(err, nerr)
		return int(n)
	}
	unhex := func(i int) []byte {
		b, herr := hex.DecodeString(field(f, i))
		err = errors.Join(err, herr)
		return b
	}
	switch f[0] {
	case "id":
		a.uid, a.gid = number(1), number(2)
	case "cwd":
		a.sameDir, a.cwd = number(1) == 1, string(unhex(2))
	case "env":
		if name, value, ok := strings.Cut(string(unhex(1)), "="); ok {
			a.env[name] = value
		}
	case "file":
		a.files = append(a.files, fileAnswer{number(1), unhex(2)})
	case "other":
		a.others = append(a.others, otherAnswer{number(1), string(unhex(2))})
	case "net":
		state := field(f, 2)
		errno, nerr := strconv.Atoi(strings.TrimRight(state, "+-"))
		err = nerr
		a.net = append(a.net, netAnswer{errno, strings.HasSuffix(state, "+"), unhex(3)})
	case "own", "unlink":
	default:
		err = errors.New("unknown")
	}
	return err
}

func field(f []string, i int) string {
	if i >= len(f) {
		return ""
	}
	return f[i]
}
