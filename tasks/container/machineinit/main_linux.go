package machineinit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"bottlebuild/tasks/container/uplink"
	"bottlebuild/tasks/copytree"
)

// Main does what args ask for, which is one of the forms above, and returns the
// exit code. Exec, if it succeeds, does not return.
func Main(args []string) int {
	// The guest's root could otherwise open this process's files through /proc,
	// the console on the host among them.
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return complain("protect the process", err)
	}
	if len(args) > 0 && slices.Contains([]string{Exec, Copy, Unpack, Pack}, args[0]) {
		expose() // runtimes give it the first process's score
	}
	switch {
	case len(args) >= 4 && args[0] == Boot:
		return boot(process{user: args[1], dir: args[2], args: args[4:]}, args[3], Never)
	case len(args) >= 5 && args[0] == Supervise:
		return boot(process{user: args[2], dir: args[3], args: args[5:]}, args[4], args[1])
	case len(args) >= 4 && args[0] == Exec:
		return execute(process{user: args[1], dir: args[2], args: args[3:]})
	case len(args) == 4 && args[0] == Copy:
		if err := copyFile(args[1], args[2], args[3], os.Stdin); err != nil {
			return complain("write "+args[3], err)
		}
		return 0
	case len(args) == 3 && args[0] == Unpack:
		if err := unpack(args[1], args[2], os.Stdin); err != nil {
			return complain("copy to "+args[2], err)
		}
		return 0
	case len(args) == 3 && args[0] == Pack:
		if err := copytree.Pack(os.Stdout, args[1], args[2]); err != nil {
			return complain("copy "+args[1], err)
		}
		return 0
	case len(args) >= 2 && args[0] == Forward:
		return forward(args[1:])
	case len(args) == 1 && args[0] == Uplink:
		return uplink.Main()
	}
	return complain("read the command line", errors.New("this runs only inside machines"))
}

func complain(what string, err error) int {
	fmt.Fprintf(os.Stderr, "bottlebuild: %s: %v\n", what, err)
	return 1
}

// process is a command as a user of this machine's /etc/passwd.
type process struct {
	user string // "name", "uid", "name:group", …; empty: root
	dir  string // empty: /
	args []string
}

// failure is why a command cannot run, with the exit code for it.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }

// resolved is a process ready to run.
type resolved struct {
	path string // of the program
	user *user.ExecUser
	env  []string
}

// resolve finds user and program, and makes the directory the current one.
func (p process) resolve() (resolved, error) {
	u, err := lookupUser(p.user)
	if err != nil {
		return resolved{}, &failure{CannotRun, err}
	}
	if os.Getenv("HOME") == OwnHome {
		os.Setenv("HOME", u.Home)
	}
	dir := p.dir
	if dir == "" {
		dir = "/"
	}
	if err := os.Chdir(dir); err != nil {
		return resolved{}, &failure{CannotRun, fmt.Errorf("working directory: %w", err)}
	}
	path, err := lookPath(p.args[0])
	if err != nil {
		return resolved{}, err
	}
	return resolved{path, u, os.Environ()}, nil
}

func lookupUser(spec string) (*user.ExecUser, error) {
	u, err := user.GetExecUserPath(spec, &user.ExecUser{Home: "/"}, "/etc/passwd", "/etc/group")
	if err != nil {
		return nil, fmt.Errorf("user %q: %w", spec, err)
	}
	return u, nil
}

// lookPath is exec.LookPath with the two exit codes for its errors. A program
// found relative to the working directory is fine here, as it is in any shell.
func lookPath(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || errors.Is(err, exec.ErrDot) {
		return path, nil
	}
	var inPath *exec.Error
	if errors.As(err, &inPath) {
		err = inPath.Err
	}
	code := CannotRun
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
		code = NotFound
	}
	return "", &failure{code, fmt.Errorf("%s: %w", name, err)}
}

// execute becomes the command. Root's capabilities end with root: the kernel
// drops them as the user id changes.
func execute(p process) int {
	// Leader of a session, so that the host can end it with all its children. If
	// the runtime has made it one, this fails and need not do more.
	syscall.Setsid()
	r, err := p.resolve()
	if err == nil {
		err = become(r.user)
	}
	if err == nil {
		err = syscall.Exec(r.path, p.args, r.env)
		if errors.Is(err, syscall.ENOENT) { // of an interpreter
			err = &failure{NotFound, fmt.Errorf("%s: its interpreter: %w", p.args[0], err)}
		} else {
			err = fmt.Errorf("%s: %w", p.args[0], err)
		}
	}
	complain("exec", err)
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return CannotRun
}

func become(u *user.ExecUser) error {
	if err := syscall.Setgroups(u.Sgids); err != nil {
		return fmt.Errorf("set groups: %w", err)
	}
	if err := syscall.Setgid(u.Gid); err != nil {
		return fmt.Errorf("set group %d: %w", u.Gid, err)
	}
	if err := syscall.Setuid(u.Uid); err != nil {
		return fmt.Errorf("set user %d: %w", u.Uid, err)
	}
	return nil
}
