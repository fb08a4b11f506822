package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/console"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// terminal CODE DIALOGUE COMMAND… runs a command at a terminal, and checks its
// exit code. Each line of the file DIALOGUE is one of
//
//	> TEXT             type it, and return
//	^ X                type control-X
//	< TEXT             wait until it is printed, after what was waited for before
//	size ROWS COLUMNS  resize the terminal
//	signal NAME        send it to the command
func cmdTerminal(ts *testscript.TestScript, _ bool, args []string) {
	master, name, err := console.NewPty()
	ts.Check(err)
	defer master.Close()
	slave, err := os.OpenFile(name, os.O_RDWR|syscall.O_NOCTTY, 0)
	ts.Check(err)
	defer slave.Close()
	ts.Check(master.Resize(console.WinSize{Height: 24, Width: 80}))
	cmd := exec.Command(filepath.Join(tools, args[2]), args[3:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, v := range []string{"PATH", "HOME", "BOTTLEBUILD_CACHE", "BOTTLEBUILD_STATE", "TOKEN"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	cmd.Env = append(cmd.Env, "TERM=vt220")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	ts.Check(cmd.Start())
	slave.Close()
	s := &screen{}
	read := make(chan struct{})
	go func() {
		s.readFrom(master)
		close(read)
	}()
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		what, text, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch what {
		case ">":
			_, err = master.Write([]byte(text + "\r"))
		case "^":
			_, err = master.Write([]byte{text[0] & 0x1f})
		case "<":
			err = s.wait(text)
		case "size":
			rows, columns, _ := strings.Cut(text, " ")
			h, _ := strconv.ParseUint(rows, 10, 16)
			w, _ := strconv.ParseUint(columns, 10, 16)
			err = master.Resize(console.WinSize{Height: uint16(h), Width: uint16(w)})
		case "signal":
			err = cmd.Process.Signal(unix.SignalNum(text))
		default:
			err = errors.New("there is no such thing in a dialogue")
		}
		if err != nil {
			cmd.Process.Kill()
			ts.Fatalf("terminal: %s: %v; it printed:\n%s", strings.TrimSpace(line), err, s.text())
		}
	}
	cmd.Wait()
	<-read
	if code := cmd.ProcessState.ExitCode(); strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s; it printed:\n%s", code, args[0], s.text())
	}
	ts.Logf("[terminal]\n%s", s.text())
}

// screen is what was printed.
type screen struct {
	mu     sync.Mutex
	all    bytes.Buffer
	waited int // up to where it was waited for
}

// readFrom ends with an error, EIO, when nobody has the terminal any more.
func (s *screen) readFrom(c console.Console) {
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		s.mu.Lock()
		s.all.Write(buf[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

func (s *screen) wait(text string) error {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		all := s.text()
		if i := strings.Index(all[s.waited:], text); i >= 0 {
			s.waited += i + len(text)
			return nil
		}
	}
	return errors.New("waited in vain")
}
