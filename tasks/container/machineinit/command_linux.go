package machineinit

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// The policies by which a command that has ended by itself is started again.
const (
	Never     = "never"
	OnFailure = "on-failure" // unless its exit code is 0
	Always    = "always"
)

// How long to wait before a command is started again: the first time, and at most;
// each time twice as long, until it has run for long enough to begin anew.
const (
	firstDelay = 100 * time.Millisecond
	maxDelay   = time.Minute
	longEnough = 10 * time.Second
)

// command is the image's command, with what is known of it.
type command struct {
	process process
	policy  string
	con     *console

	pid     int // 0: it does not run
	started time.Time
	kills   int // by then, of processes for want of memory
	delay   time.Duration
	again   <-chan time.Time // when to start it; nil: not
}

// start starts the command, if there is one.
func (c *command) start() {
	c.again = nil
	if len(c.process.args) == 0 {
		setTitle(TitleNone, 0)
		return
	}
	c.started, c.kills = time.Now(), memoryKills()
	pid, err := start(c.process, c.con)
	if err != nil {
		c.con.sayf("cannot start the image's command: %v", err)
		c.ended(CannotRun)
		return
	}
	c.pid = pid
	setTitle(TitleRuns, 0)
}

// reap waits for every child that has ended, orphans included.
func (c *command) reap() {
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG, nil)
		switch {
		case err == syscall.EINTR:
			continue
		case err != nil || pid <= 0:
			return
		case pid != c.pid:
			continue
		}
		c.pid = 0
		if ws.Signaled() {
			why := ""
			if ws.Signal() == syscall.SIGKILL && memoryKills() > c.kills {
				why = ": the machine is out of memory"
			}
			c.con.sayf("the image's command was ended by signal %d (%s)%s", ws.Signal(), ws.Signal(), why)
			c.ended(128 + int(ws.Signal()))
		} else {
			c.con.sayf("the image's command ended with exit code %d", ws.ExitStatus())
			c.ended(ws.ExitStatus())
		}
	}
}

// ended decides, by the exit code, whether the command is started again.
func (c *command) ended(code int) {
	if c.policy != Always && (c.policy != OnFailure || code == 0) {
		c.con.sayf("the machine stays up")
		setTitle(TitleEnded, code)
		return
	}
	if time.Since(c.started) >= longEnough {
		c.delay = 0
	}
	c.delay = min(max(2*c.delay, firstDelay), maxDelay)
	c.con.sayf("it is started again in %s", c.delay)
	c.again = time.After(c.delay)
	setTitle(TitleAgain, code)
}

// The first process's name tells the host of the image's command: no other process
// of the machine can change it.
const (
	TitleNone  = "bottle:none"  // the image has no command
	TitleRuns  = "bottle:up"    // it runs
	TitleEnded = "bottle:end"   // it has ended, with the exit code that follows
	TitleAgain = "bottle:again" // likewise, and is about to be started again
)

// setTitle sets the process's name, of which the kernel keeps 15 bytes.
func setTitle(title string, code int) {
	if title == TitleEnded || title == TitleAgain {
		title += fmt.Sprint(code)
	}
	_ = os.WriteFile("/proc/self/comm", []byte(title), 0) // if it fails, the host knows less
}

// ParseTitle reads the name of a machine's first process. ok is false if that tells
// nothing, as with another process.
func ParseTitle(name string) (title string, code int, ok bool) {
	for _, t := range []string{TitleEnded, TitleAgain} {
		if n, err := fmt.Sscanf(strings.TrimPrefix(name, t), "%d", &code); strings.HasPrefix(name, t) && n == 1 && err == nil {
			return t, code, true
		}
	}
	return name, 0, name == TitleNone || name == TitleRuns
}
