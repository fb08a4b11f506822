// Command bottlebuild takes a bottle file from Dockerfiles to booted machines:
// image builds, exports, pushes, packs and machines as one content-addressed
// graph, of which only that part runs that is not in the cache.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/moby/sys/reexec"

	"bottlebuild/tasks/container/machineinit"
)

func main() {
	// BuildKit and the container backend start this binary again under other
	// names; such a process must do nothing else.
	if len(os.Args) > 1 && os.Args[1] == machineInitCommand {
		os.Exit(machineinit.Main(os.Args[2:]))
	}
	if reexec.Init() {
		return
	}
	// A run that finds everything cached is over before collecting garbage pays.
	if len(os.Args) > 1 && os.Args[1] != daemonCommand && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	os.Exit(realMain(os.Args[1:]))
}

// machineInitCommand is the hidden command that is the first process of a
// machine of the container backend.
const machineInitCommand = "machine-init"

// signalPause is for how long after the first signal more of them count as one.
const signalPause = 300 * time.Millisecond

// errInterrupted is the cause of a context that a signal has cancelled.
var errInterrupted = errors.New("interrupted")

func realMain(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		<-signals
		cancel(errInterrupted)
		// Some tools send a signal to the process and to its group.
		time.Sleep(signalPause)
		for len(signals) > 0 {
			<-signals
		}
		<-signals // the user does not want to wait for cleaning up
		fmt.Fprintln(os.Stderr, "bottlebuild: interrupted twice, leaving at once")
		killChildren()
		os.Exit(exitInterrupted)
	}()
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		err = &exitError{exitInterrupted, errInterrupted}
	}
	return a.report(err)
}
