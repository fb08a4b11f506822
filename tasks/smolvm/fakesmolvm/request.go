//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// request is what a client asks of the agent: one packet with three files, for a
// command its standard ones, for a copy the source as the first.
type request struct {
	Args    []string
	Env     []string
	Workdir string
	User    string
	TTY     bool
	CopyTo  string // a path: copy instead of run
	// Of the copy.
	Mode     uint32
	UID, GID int
}

// reply is the agent's answer. A client that goes away before it ends the command.
type reply struct {
	Code  int
	Error string // of the agent itself
}

const maxRequest = 1 << 20

func serveAgent(l *net.UnixListener, m *machine) {
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			req, files, err := receive(conn)
			defer func() {
				for _, f := range files {
					f.Close()
				}
			}()
			if err != nil {
				return // somebody looked whether the agent answers
			}
			var r reply
			if req.CopyTo != "" {
				err = receiveFile(req, files[0])
			} else {
				r.Code, err = runCommand(conn, req, files)
			}
			if err != nil {
				r.Error = err.Error()
			}
			json.NewEncoder(conn).Encode(r)
		}()
	}
}

func receive(conn *net.UnixConn) (request, []*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(3*4))
	head := make([]byte, 4096)
	n, oobn, _, _, err := conn.ReadMsgUnix(head, oob)
	if err != nil || n == 0 {
		return request{}, nil, errors.Join(err, io.EOF)
	}
	var files []*os.File
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return request{}, nil, err
	}
	for _, m := range msgs {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return request{}, files, err
		}
		for _, fd := range fds {
			syscall.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	var req request
	err = json.NewDecoder(io.LimitReader(io.MultiReader(bytes.NewReader(head[:n]), conn), maxRequest)).Decode(&req)
	if err == nil && len(files) != 3 {
		err = fmt.Errorf("%d files", len(files))
	}
	return req, files, err
}

// receiveFile writes beside the file and renames. Directories that are missing
// are made, and are root's.
func receiveFile(req request, src *os.File) error {
	if err := os.MkdirAll(filepath.Dir(req.CopyTo), 0o755); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	part := req.CopyTo + ".smolvm-upload"
	f, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	_, err = io.Copy(f, src)
	err = errors.Join(err, f.Chown(req.UID, req.GID), unix.Fchmod(int(f.Fd()), req.Mode), f.Close())
	if err == nil {
		err = os.Rename(part, req.CopyTo)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write file: %w", err), os.Remove(part))
	}
	return nil
}

// spawnError is a command that could not be run: the code is the shell's.
type spawnError struct {
	code int
	err  error
}

func (e spawnError) Error() string { return e.err.Error() }

// prepare finds the program in the guest and the user it runs as.
func prepare(req request) (*exec.Cmd, error) {
	env := req.Env
	attr := &syscall.SysProcAttr{Setsid: true}
	if req.User != "" {
		u, err := user.GetExecUserPath(req.User, &user.ExecUser{Home: "/"}, "/etc/passwd", "/etc/group")
		if err != nil {
			return nil, fmt.Errorf("user '%s' not found in container rootfs: %w", req.User, err)
		}
		attr.Credential = &syscall.Credential{Uid: uint32(u.Uid), Gid: uint32(u.Gid)}
		for _, g := range u.Sgids {
			attr.Credential.Groups = append(attr.Credential.Groups, uint32(g))
		}
		if value(env, "HOME") == "" {
			env = append(env, "HOME="+u.Home)
		}
	}
	path, err := find(req.Args[0], value(env, "PATH"))
	if err != nil {
		return nil, err
	}
	dir := req.Workdir
	if dir == "" {
		dir = "/"
	}
	if fi, err := os.Stat(dir); err != nil || !fi.IsDir() {
		return nil, spawnError{126, fmt.Errorf("chdir to %s: no such directory", dir)}
	}
	return &exec.Cmd{Path: path, Args: req.Args, Env: env, Dir: dir, SysProcAttr: attr}, nil
}

// startIn starts a command in its directory, which root enters for it: its own
// user may not be allowed to.
func startIn(cmd *exec.Cmd) error {
	dir := cmd.Dir
	cmd.Dir = ""
	started := make(chan error, 1)
	go func() {
		// A thread with a working directory of its own, that ends with this goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir(dir)
		}
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	return <-started
}

// find looks for a program as a shell does; the process's own PATH is not the guest's.
func find(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, runnable(name)
	}
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	for _, dir := range filepath.SplitList(path) {
		if p := filepath.Join(dir, name); runnable(p) == nil {
			return p, nil
		}
	}
	return "", spawnError{127, fmt.Errorf("exec %q: executable file not found in $PATH", name)}
}

func runnable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return spawnError{127, fmt.Errorf("exec %q: no such file or directory", path)}
	case err != nil:
		return spawnError{126, fmt.Errorf("exec %q: %w", path, err)}
	case !fi.Mode().IsRegular() || fi.Mode()&0o111 == 0:
		return spawnError{126, fmt.Errorf("exec %q: permission denied", path)}
	}
	return nil
}

func value(env []string, name string) (v string) {
	for _, kv := range env {
		if s, ok := strings.CutPrefix(kv, name+"="); ok {
			v = s
		}
	}
	return v
}

// runCommand runs a command and kills its group when the client goes away.
func runCommand(conn *net.UnixConn, req request, files []*os.File) (int, error) {
	cmd, err := prepare(req)
	if err == nil {
		cmd.Stdin, cmd.Stdout, cmd.Stderr = files[0], files[1], files[2]
		if req.TTY {
			var done func()
			if done, err = terminal(cmd, files[0], files[1]); err == nil {
				defer done()
			}
		}
	}
	if err == nil {
		if err = startIn(cmd); err != nil {
			err = spawnError{126, err}
		}
	}
	var spawn spawnError
	if errors.As(err, &spawn) {
		fmt.Fprintf(files[2], "%v\n", spawn)
		return spawn.code, nil
	}
	if err != nil {
		return 0, err
	}
	ended := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		conn.Read(make([]byte, 1)) // returns when the client is gone
		close(gone)
	}()
	go func() {
		select {
		case <-gone:
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		case <-ended: // what it left in the background stays
		}
	}()
	cmd.Wait()
	close(ended)
	return exitCode(cmd.ProcessState), nil
}

func exitCode(s *os.ProcessState) int {
	if ws := s.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

// terminal gives the command a terminal of its own; both its outputs come out
// as one.
func terminal(cmd *exec.Cmd, stdin, stdout *os.File) (done func(), err error) {
	master, err := os.OpenFile("/dev/pts/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	slave, err := os.OpenFile("/dev/pts/"+itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, errors.Join(err, master.Close())
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr.Setctty, cmd.SysProcAttr.Ctty = true, 0
	go io.Copy(master, stdin)
	copied := make(chan struct{})
	go func() {
		io.Copy(stdout, master) // ends with EIO when the last writer is gone
		close(copied)
	}()
	return func() {
		slave.Close()
		<-copied
		master.Close()
	}, nil
}

func splitPath(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}
