package tasks

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"bottlebuild/tasks/backend"
)

// Backends are the backends that machines can be made with.
type Backends struct {
	Smolvm backend.Backend
	// Container makes the backend for an OCI runtime; it is called once for each.
	Container func(runtime string) backend.Backend
	// Notice receives, once each, what users should know of the backends used.
	Notice func(string)

	mu         sync.Mutex
	containers map[string]backend.Backend
	auto       map[string]backend.Backend
	noticed    map[string]bool
}

// DefaultRuntime is the OCI runtime of the container backend.
const DefaultRuntime = "runc"

// Named returns the backend "smolvm", "container" or "auto" without asking
// whether it can work here; for auto it has to ask.
func (b *Backends) Named(ctx context.Context, name, runtime string) (backend.Backend, error) {
	switch name {
	case BackendSmolvm:
		return b.Smolvm, nil
	case BackendContainer:
		return b.container(runtime), nil
	case BackendAuto:
		return b.choose(ctx, runtime)
	}
	return nil, fmt.Errorf("there is no backend %q; use %s, %s or %s", name, BackendSmolvm, BackendContainer, BackendAuto)
}

// Ready is Named for a backend that is about to be used: its preflight has passed.
func (b *Backends) Ready(ctx context.Context, name, runtime string) (backend.Backend, backend.Info, error) {
	be, err := b.Named(ctx, name, runtime)
	if err != nil {
		return nil, backend.Info{}, err
	}
	info, err := be.Preflight(ctx)
	if err != nil {
		return nil, backend.Info{}, err
	}
	b.notice(info.Notice)
	return be, info, nil
}

// All returns every backend, for looking at the machines there are.
func (b *Backends) All() []backend.Backend {
	return []backend.Backend{b.Smolvm, b.container(DefaultRuntime)}
}

func (b *Backends) container(runtime string) backend.Backend {
	if runtime == "" {
		runtime = DefaultRuntime
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.containers == nil {
		b.containers = map[string]backend.Backend{}
	}
	be := b.containers[runtime]
	if be == nil {
		be = b.Container(runtime)
		b.containers[runtime] = be
	}
	return be
}

// choose takes smolvm if its preflight passes, else container, and says so.
func (b *Backends) choose(ctx context.Context, runtime string) (backend.Backend, error) {
	b.mu.Lock()
	chosen := b.auto[runtime]
	b.mu.Unlock()
	if chosen != nil {
		return chosen, nil
	}
	_, why := b.Smolvm.Preflight(ctx)
	chosen = b.Smolvm
	text := "backend auto: smolvm"
	if why != nil {
		chosen = b.container(runtime)
		if _, err := chosen.Preflight(ctx); err != nil {
			return nil, fmt.Errorf("backend auto: neither can work here: %w", errors.Join(why, err))
		}
		text = fmt.Sprintf("backend auto: container, since smolvm cannot work here (%v)", why)
	}
	b.notice(text)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.auto == nil {
		b.auto = map[string]backend.Backend{}
	}
	b.auto[runtime] = chosen
	return chosen, nil
}

func (b *Backends) notice(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if text == "" || b.Notice == nil || b.noticed[text] {
		return
	}
	if b.noticed == nil {
		b.noticed = map[string]bool{}
	}
	b.noticed[text] = true
	b.Notice(text)
}
