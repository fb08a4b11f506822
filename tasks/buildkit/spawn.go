package buildkit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/moby/buildkit/client"
)

// SpawnConfig says how to start the embedded daemon in a process of its own.
type SpawnConfig struct {
	// Argv is the command: this binary and the subcommand that calls [Serve]
	// with the same Root and Socket.
	Argv []string
	// Env is its environment, "NAME=value".
	Env []string
	// Root and Socket are as in [DaemonConfig].
	Root, Socket string
	// LogFile takes what it prints; empty: buildkitd.log in Root.
	LogFile string
	// Runtime is as in [DaemonConfig], to tell early that it is missing.
	Runtime string
	// Wait bounds how long it may take to answer; 0: 30 seconds.
	Wait time.Duration
}

const (
	spawnWait = 30 * time.Second
	// maxLog is the size above which a log is begun anew, in bytes.
	maxLog = 4 << 20
	// logTail is how much of the log an error quotes, in bytes.
	logTail = 2 << 10
)

// errEndedEarly is why a daemon that ended with code 0 is of no use.
var errEndedEarly = errors.New("exit status 0, before it answered")

func (c SpawnConfig) address() string { return "unix://" + c.Socket }

// Spawn makes sure that the embedded daemon runs: if its socket does not answer
// it starts one, detached from this process and its terminal, and waits until
// it does. Of several calls at once, in whatever processes, one starts it. The
// error wraps [ErrUnavailable] and quotes the end of the daemon's log.
func Spawn(ctx context.Context, cfg SpawnConfig) error {
	if err := EmbeddedUsable(cfg.Runtime); err != nil {
		return fmt.Errorf("start BuildKit: %w: %w", ErrUnavailable, err)
	}
	if answers(ctx, cfg.address()) == nil {
		return nil
	}
	wait := cfg.Wait
	if wait == 0 {
		wait = spawnWait
	}
	ctx, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("it did not answer within %s", wait))
	defer cancel()
	if err := os.MkdirAll(cfg.Root, 0o700); err != nil {
		return fmt.Errorf("start BuildKit: %w", err)
	}
	lock := flock.New(filepath.Join(cfg.Root, "spawn.lock"), flock.SetPermissions(0o600))
	defer lock.Close()
	if _, err := lock.TryLockContext(ctx, 20*time.Millisecond); err != nil {
		return fmt.Errorf("start BuildKit: %w: another process is starting it: %w", ErrUnavailable, context.Cause(ctx))
	}
	if answers(ctx, cfg.address()) == nil {
		return nil
	}
	if err := cfg.start(ctx); err != nil {
		return fmt.Errorf("start BuildKit: %w: %w", ErrUnavailable, err)
	}
	return nil
}

// start runs the daemon and waits for its first answer. The spawn lock is held.
func (c SpawnConfig) start(ctx context.Context) error {
	log, begin, err := c.openLog()
	if err != nil {
		return err
	}
	defer log.Close()
	// Not CommandContext: the daemon outlives this call and this process.
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = c.Env, c.Root, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }() // so that it leaves no zombie
	for {
		if err := answers(ctx, c.address()); err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case err := <-exited:
			return fmt.Errorf("it ended: %w%s", cmp.Or(err, errEndedEarly), c.quoteLog(begin))
		case <-ctx.Done():
			// It may be stuck for good, holding the state's lock.
			syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
			return fmt.Errorf("%w%s", context.Cause(ctx), c.quoteLog(begin))
		}
	}
}

func (c SpawnConfig) logFile() string {
	if c.LogFile != "" {
		return c.LogFile
	}
	return filepath.Join(c.Root, "buildkitd.log")
}

// openLog opens the log for appending and returns where it ends now.
func (c SpawnConfig) openLog() (log *os.File, end int64, err error) {
	log, err = os.OpenFile(c.logFile(), os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, 0, err
	}
	fi, err := log.Stat()
	if err == nil {
		end = fi.Size()
		if end > maxLog {
			end, err = 0, log.Truncate(0)
		}
	}
	if err != nil {
		log.Close()
		return nil, 0, err
	}
	return log, end, nil
}

// quoteLog returns the end of what the log has from begin on, introduced for
// use in an error message.
func (c SpawnConfig) quoteLog(begin int64) string {
	f, err := os.Open(c.logFile())
	if err != nil {
		return ""
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	b := make([]byte, min(end-begin, logTail))
	n, err := f.ReadAt(b, end-int64(len(b)))
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	text := strings.TrimSpace(string(b[:n]))
	if text == "" {
		return "; it said nothing, see " + c.logFile()
	}
	return "; the end of " + c.logFile() + ":\n" + text
}

// answerWait bounds how long a builder may take to answer before it counts as
// not there, for those that were not named but found.
const answerWait = 2 * time.Second

// answers reports why the builder at address does not answer, nil if it does.
func answers(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	c, err := client.New(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Info(ctx)
	return err
}
