// Package selftest looks from inside a machine that has booted whether it is what
// was asked for: the pack's files, the environment, the user and the working
// directory, who owns the files of the user's home, what can be reached and what
// cannot.
//
// It copies a program of some kilobytes into the machine, probe/probe.c, so that
// an image need have nothing that the tests use. What the machine must not reach
// is tried with ports that are opened on this host for the time of the test, and
// with addresses that lead nowhere by definition; no other host is bothered.
package selftest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"bottlebuild/tasks/backend"
)

// Version enters the record of a test that was passed: it is raised where a test
// is added, so that machines are tested again.
const Version = "1"

// ErrImpossible is wrapped by the error of [Run] where the machine cannot be
// tested: nothing is known to be wrong with it.
var ErrImpossible = errors.New("the self-test is not possible")

// Machine is a machine that runs, as it was asked for.
type Machine struct {
	Name string
	// Arch is the guest's processor as Go has it: "amd64".
	Arch          string
	Env           map[string]string
	SecretEnv     map[string]string // like Env, for what may stand in no argument list
	User, Workdir string            // empty: the image's
	Network       *backend.Network  // nil: none
	// Used: somebody has had the machine since it was made, and its files are
	// theirs to change.
	Used bool
	// Samples are files of the pack, see [Sample].
	Samples []File
	// Others are paths of files that were given to somebody else on purpose.
	Others []string
}

// Failure is a test that failed.
type Failure struct {
	Text   string // "the host's loopback can be reached (TCP)"
	Advice string // what to do about it
}

// Error is what [Run] returns when tests failed.
type Error struct {
	Passed int
	Failed []Failure
}

// Error lists what is wrong, and what to do, each advice once.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "self-test: %d of %d checks failed:", len(e.Failed), e.Passed+len(e.Failed))
	var advice []string
	for _, f := range e.Failed {
		fmt.Fprintf(&b, "\n  - %s", f.Text)
		if f.Advice != "" && !slices.Contains(advice, f.Advice) {
			advice = append(advice, f.Advice)
		}
	}
	for _, a := range append(advice, "self_test = false in the machine block turns these checks off") {
		fmt.Fprintf(&b, "\n  %s", a)
	}
	return b.String()
}

// Run tests a machine and returns how many checks it passed. The error wraps
// [*Error] for what is wrong with the machine, [ErrImpossible], or the backend's
// own errors. It takes about a second where packets vanish, else less.
func Run(ctx context.Context, be backend.Backend, m Machine) (passed int, err error) {
	p, err := place(ctx, be, m)
	if err != nil {
		return 0, err
	}
	defer p.remove(ctx)
	t := &tests{}
	seen, err := t.asUser(ctx, p, m)
	if err != nil {
		return 0, err
	}
	if err := t.asRoot(ctx, p, m, seen); err != nil {
		return 0, err
	}
	if len(t.failed) > 0 {
		return t.passed, &Error{Passed: t.passed, Failed: t.failed}
	}
	return t.passed, nil
}

// tests counts.
type tests struct {
	passed int
	failed []Failure
}

// check adds a test; the text says what is wrong if it is not ok.
func (t *tests) check(ok bool, advice, text string, args ...any) {
	if ok {
		t.passed++
		return
	}
	t.failed = append(t.failed, Failure{Text: fmt.Sprintf(text, args...), Advice: advice})
}

// seen is what the machine told of itself.
type seen struct {
	home       *account // whose files are to be theirs; nil: root's, or nobody's
	resolvConf []byte
	hosts      []byte
	ipv4Routes []byte
}

const (
	backendAdvice = "this is not of the bottle file's making: update the backend (bottlebuild doctor tells its version), or report it"
	packAdvice    = "remove the machine with \"bottlebuild down\" and run again; if that does not help, the backend has mixed up packs: report it"
)

// asUser runs the probe as commands are run in the machine.
func (t *tests) asUser(ctx context.Context, p *probe, m Machine) (seen, error) {
	cwd := "cwd:/"
	if m.Workdir != "" {
		cwd = "cwd:" + m.Workdir
	}
	a, err := p.run(ctx, backend.Exec{Env: m.Env, SecretEnv: m.SecretEnv, User: m.User, Workdir: m.Workdir},
		"id", cwd, "env", "file:/etc/passwd", "file:/etc/resolv.conf", "file:/etc/hosts", "file:/proc/net/route")
	if err != nil {
		return seen{}, fmt.Errorf("self-test: as user %q in %q: %w", m.User, m.Workdir, err)
	}
	users := parsePasswd(a.files[0].content)
	wanted := maps.Clone(m.Env)
	if wanted == nil {
		wanted = map[string]string{}
	}
	maps.Copy(wanted, m.SecretEnv)
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		got, ok := a.env[name]
		// Values may be sensitive: they are not shown.
		how := "with another value"
		if !ok {
			how = "not at all"
		}
		t.check(ok && got == wanted[name], backendAdvice, "the environment variable %s reaches commands %s", name, how)
	}
	if m.Workdir != "" {
		t.check(a.sameDir, backendAdvice, "commands run in %s, not in %s", a.cwd, m.Workdir)
	}
	if want, ok := wantedUser(users, m.User); ok {
		t.check(a.uid == want, backendAdvice, "commands run as user %d, not as %s (%d)", a.uid, m.User, want)
	}
	s := seen{resolvConf: a.files[1].content, hosts: a.files[2].content, ipv4Routes: a.files[3].content}
	if i := slices.IndexFunc(users, func(u account) bool { return u.uid == a.uid }); i >= 0 && a.uid != 0 && users[i].home != "/" && !m.Used {
		s.home = &users[i]
	}
	return s, nil
}

// asRoot runs the probe as root: it sees all files, and what the machine cannot
// reach as root it cannot reach at all.
func (t *tests) asRoot(ctx context.Context, p *probe, m Machine, s seen) error {
	host, err := listen(ctx)
	if err != nil {
		return fmt.Errorf("self-test: open ports on this host to be tried from the machine: %w", err)
	}
	defer host.close()
	policy := newPolicy(ctx, m.Network)
	targets := forbidden(policy, host, s)
	reachable := allowed(ctx, policy, host, s)
	var ops []string
	if s.home != nil {
		ops = append(ops, fmt.Sprintf("own:%d:%s", s.home.uid, s.home.home))
	}
	samples := m.Samples
	if m.Used {
		samples = nil
	}
	for _, f := range samples {
		ops = append(ops, "file:"+f.Path)
	}
	ops = append(ops, fmt.Sprintf("net:%d", patience.Milliseconds()))
	for _, n := range slices.Concat(targets, reachable.questions) {
		ops = append(ops, n.op())
	}
	a, err := p.run(ctx, backend.Exec{User: "0", Workdir: "/"}, ops...)
	if err != nil {
		return fmt.Errorf("self-test: as root: %w", err)
	}
	if s.home != nil {
		t.owners(m, *s.home, a)
	}
	t.pack(samples, a.files)
	if len(a.net) != len(targets)+len(reachable.questions) {
		return fmt.Errorf("self-test: the probe answered for %d of %d connections", len(a.net), len(targets)+len(reachable.questions))
	}
	// What the host has received may still be on its way to us.
	host.settle()
	t.closed(targets, a.net[:len(targets)])
	return t.open(ctx, p, reachable, a.net[len(targets):])
}

// patience is how long the machine waits for answers that should not come.
const patience = time.Second

// owners looks at the files of the user's home.
func (t *tests) owners(m Machine, home account, a answers) {
	var wrong []string
	for _, o := range a.others {
		if !slices.Contains(m.Others, o.path) {
			wrong = append(wrong, fmt.Sprintf("%s (of user %d)", o.path, o.uid))
		}
	}
	const most = 3
	more := ""
	if len(wrong) > most {
		wrong, more = wrong[:most], ", …"
	}
	t.check(len(wrong) == 0,
		fmt.Sprintf("give them to %s: in the image with COPY --chown=%[1]s, or in the machine with provision { exec = [\"chown\", \"-R\", \"%[1]s:\", \"%s\"] }", home.name, home.home),
		"files in %s do not belong to %s: %s%s", home.home, home.name, strings.Join(wrong, ", "), more)
}
