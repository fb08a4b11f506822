// Command bottlebuild takes a bottle file from Dockerfiles to booted machines:
// image builds, exports, pushes, packs and machines as one content-addressed
// graph, of which only that part runs that is not in the cache.
package main

import (
	"context"
	"errors"
	"os"

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
	if len(os.Args) > 1 && os.Args[1] != daemonCommand && os.Getenv("GOGC") == "" {
		tuneMemory()
	}
	os.Exit(realMain(os.Args[1:]))
}

// machineInitCommand is the hidden command that is the first process of a
// machine of the container backend.
const machineInitCommand = "machine-init"

func realMain(args []string) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	a := newApp(os.Stdin, os.Stdout, os.Stderr, os.LookupEnv)
	defer a.signals.watch(cancel)()
	root := newRootCommand(a)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		err = &exitError{exitInterrupted, errInterrupted}
	}
	return a.report(err)
}
