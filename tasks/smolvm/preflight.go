package smolvm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks/backend"
)

// version is a release of smolvm.
type version struct{ major, minor, patch int }

// The releases at which the command line changed in a way that no help text tells.
var (
	// Older ones give files of a pack the wrong owner, drop the allow-lists of a
	// machine made from a pack in silence, and know no labels.
	oldest = version{1, 8, 1}
	// Since then a guest that packs may not reach the host's loopback unless told so.
	guardsLoopback = version{1, 13, 0}
	// Since then layers are stacked; before, they are copied over each other in
	// the guest's memory, where deleted files come back and big images do not fit.
	stacksLayers = version{1, 17, 0}
)

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v version) before(o version) bool {
	if v.major != o.major {
		return v.major < o.major
	}
	if v.minor != o.minor {
		return v.minor < o.minor
	}
	return v.patch < o.patch
}

var versionLine = lazyregexp.New(`^smolvm v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:[-+ ].*)?$`)

func parseVersion(s string) (version, bool) {
	m := versionLine.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return version{}, false
	}
	var n [3]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1]) // digits, few enough
	}
	return version{n[0], n[1], n[2]}, true
}

// program is the smolvm that was found.
type program struct {
	path    string
	version version
}

// program finds smolvm and its version, once. The error wraps
// [backend.ErrUnavailable]. A question that was cancelled has found nothing.
func (b *Backend) program(ctx context.Context) (*program, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.found != nil || b.foundErr != nil {
		return b.found, b.foundErr
	}
	p, err := b.look(ctx)
	if ctx.Err() != nil {
		return nil, fmt.Errorf("look for smolvm: %w", context.Cause(ctx))
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", backend.ErrUnavailable, err)
	}
	b.found, b.foundErr = p, err
	return p, err
}

// errNoProgram: there is no file to run at all.
var errNoProgram = errors.New("it is not installed, or not on PATH: get it from https://github.com/smol-machines/smolvm, or use backend = \"container\"")

func (b *Backend) look(ctx context.Context) (*program, error) {
	path, err := lookPath(b.cfg.Binary, b.cfg.Env)
	if err != nil {
		return nil, err
	}
	p := &program{path: path}
	out, err := b.runProgram(ctx, p, "--version")
	if err != nil {
		return nil, fmt.Errorf("%s --version: %w", path, err)
	}
	v, ok := parseVersion(out)
	if !ok {
		return nil, fmt.Errorf("%s is not the smolvm that is meant: --version printed %.80q instead of \"smolvm X.Y.Z\"; put the one from https://github.com/smol-machines/smolvm first on PATH", path, out)
	}
	// Another project of this name prints a version in the same form.
	help, err := b.runProgram(ctx, p, "pack", "create", "--help")
	var ce *commandError
	if err != nil && !(errors.As(err, &ce) && ce.code == 2) { // 2: there is no such command
		return nil, fmt.Errorf("%s pack create --help: %w", path, err)
	}
	if err != nil || !parseFlags(help)["--image"] {
		return nil, fmt.Errorf("%s %s is another program of the same name: it has no \"pack create --image\"; put the one from https://github.com/smol-machines/smolvm first on PATH", path, v)
	}
	if v.before(oldest) {
		return nil, fmt.Errorf("%s is version %s, but %s or later is needed: update smolvm", path, v, oldest)
	}
	p.version = v
	b.flags["pack create"] = parseFlags(help)
	return p, nil
}

// lookPath finds a program in the PATH of env, in directories given absolutely.
func lookPath(name string, env []string) (string, error) {
	if filepath.IsAbs(name) {
		if !executable(name) {
			return "", fmt.Errorf("%s: %w", name, errNoProgram)
		}
		return name, nil
	}
	var dirs string
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, "PATH="); ok {
			dirs = v
		}
	}
	for _, dir := range filepath.SplitList(dirs) {
		if p := filepath.Join(dir, name); filepath.IsAbs(p) && executable(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, errNoProgram)
}

func executable(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && fi.Mode().IsRegular() && fi.Mode().Perm()&0o111 != 0
}

// flagSet is the long flags that a help text names: "--stream".
type flagSet map[string]bool

var longFlag = lazyregexp.New(`(?m)(?:^|[\s,\[(])(--[a-z][a-z0-9-]*)`)

func parseFlags(help string) flagSet {
	set := flagSet{}
	for _, m := range longFlag.FindAllStringSubmatch(help, -1) {
		set[m[1]] = true
	}
	return set
}

// flagsOf returns the flags of a subcommand as its help tells them, asked once.
func (b *Backend) flagsOf(ctx context.Context, subcommand ...string) (flagSet, error) {
	p, err := b.program(ctx)
	if err != nil {
		return nil, err
	}
	key := strings.Join(subcommand, " ")
	b.mu.Lock()
	defer b.mu.Unlock()
	if set, ok := b.flags[key]; ok {
		return set, nil
	}
	help, err := b.runProgram(ctx, p, append(subcommand, "--help")...)
	if err != nil {
		return nil, fmt.Errorf("smolvm %s --help: %w", key, err)
	}
	b.flags[key] = parseFlags(help)
	return b.flags[key], nil
}

// checkHypervisor reports why no virtual machine can be started. On anything
// but Linux it takes the system's own hypervisor as given.
func checkHypervisor(kvm string) error {
	if runtime.GOOS != "linux" {
		return nil
	}
	f, err := os.OpenFile(kvm, os.O_RDWR, 0)
	switch {
	case err == nil:
		return f.Close()
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no %s: turn on virtualisation in the firmware (in a virtual machine: nested virtualisation) and load the module with \"modprobe kvm_intel\" or \"modprobe kvm_amd\", or use backend = \"container\"", kvm)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("this user may not open %s: join its group with \"sudo usermod -aG kvm $USER\" and log in again", kvm)
	default:
		return fmt.Errorf("%s cannot be used: %w", kvm, err)
	}
}
