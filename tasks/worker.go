package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/progress"
	"bottlebuild/tasks/registry"
)

// Worker describes, checks and does the work of the five kinds of nodes.
type Worker struct {
	Store    *cache.Store
	Scanner  *buildcontext.Scanner
	Registry *registry.Client
	Backends *Backends
	Records  Records
	Volumes  Volumes
	// Builder connects to the builder, or returns the one it has connected to.
	// It is called only when an image has to be built.
	Builder func(context.Context) (*buildkit.Builder, error)
	// Secret returns the value of a secret, or an error that says where it was
	// looked for. It is called when a build that uses the secret starts.
	Secret func(context.Context, SecretRef) ([]byte, error)
	// SSHAgent is the path of the socket of the user's SSH agent; empty: there is none.
	SSHAgent string
	// Pins are what the lock file says, nil if there is none; with Locked, what
	// it lacks is refused instead of looked up.
	Pins   Pins
	Locked bool
	// Env is the environment of git, which finds the commits of refs.
	Env []string
	// Fetch brings what a shared cache has into the store; nil: there is none.
	Fetch FetchFunc
	// Platform is this machine's: "linux/amd64".
	Platform string
	// Progress returns where the work of the node at address reports to.
	Progress func(address string) progress.Sink

	mu       sync.Mutex
	analyses map[cache.Key]*buildkit.Analysis

	resolutions resolutions
	absences    absences
}

var (
	_ graph.Worker    = (*Worker)(nil)
	_ graph.Explainer = (*Worker)(nil)
	_ graph.Executor  = (*Worker)(nil)
)

// Describe implements [graph.Worker].
func (w *Worker) Describe(ctx context.Context, s graph.Spec, r *cache.Recipe) error {
	switch p := s.Params.(type) {
	case Image:
		defer func() { r.Conceal(p.Sensitive...) }()
		return w.describeImage(ctx, p, s, r)
	case Export:
		w.describeExport(p, s, r)
		return nil
	case Push:
		defer func() { r.Conceal(p.Sensitive...) }()
		w.describePush(p, s, r)
		return nil
	case Pack:
		return w.describePack(ctx, p, s, r)
	case Machine:
		defer func() { r.Conceal(p.Sensitive...) }()
		return w.describeMachine(ctx, p, s, r)
	}
	return fmt.Errorf("%s: no parameters of a kind: %T", s.Address, s.Params)
}

// Check implements [graph.Worker].
func (w *Worker) Check(ctx context.Context, s graph.Spec, entry *cache.Entry) (graph.Verdict, error) {
	switch p := s.Params.(type) {
	case Image:
		return w.checkImage(p, s, entry), nil
	case Export:
		return w.checkExport(ctx, p, s, entry)
	case Push:
		return w.checkPush(ctx, p, s, entry)
	case Pack:
		return w.checkPack(ctx, p, s, entry)
	case Machine:
		return w.checkMachine(ctx, p, s)
	}
	return graph.Default(s, entry), nil
}

// Execute implements [graph.Executor] on this machine.
func (w *Worker) Execute(ctx context.Context, work graph.Work) (cache.Output, error) {
	switch work.Kind {
	case KindImage:
		return execute(ctx, work, w.runImage)
	case KindExport:
		return execute(ctx, work, w.runExport)
	case KindPush:
		return execute(ctx, work, w.runPush)
	case KindPack:
		return execute(ctx, work, w.runPack)
	case KindMachine:
		return execute(ctx, work, w.runMachine)
	}
	return cache.Output{}, fmt.Errorf("there is no kind of work called %q", work.Kind)
}

// execute gives run the parameters that the work carries.
func execute[P any](ctx context.Context, work graph.Work, run func(context.Context, P, graph.Work) (cache.Output, error)) (cache.Output, error) {
	var p P
	if err := json.Unmarshal(work.Params, &p); err != nil {
		return cache.Output{}, fmt.Errorf("read parameters of %s: %w", work.Kind, err)
	}
	return run(ctx, p, work)
}

func (w *Worker) sink(work graph.Work) progress.Sink { return w.Progress(work.Address) }

// platform returns the platform that is meant.
func (w *Worker) platform(wanted string) string {
	if wanted == "" {
		return w.Platform
	}
	return wanted
}
