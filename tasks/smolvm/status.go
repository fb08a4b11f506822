package smolvm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"bottlebuild/tasks/backend"
)

// machineJSON is what is read of smolvm's answers; their other fields, and types
// that are not as expected in those that matter less, are passed over.
type machineJSON struct {
	Name      string            `json:"name"`
	State     string            `json:"state"`
	CPUs      json.RawMessage   `json:"cpus"`
	MemoryMiB json.RawMessage   `json:"memory_mib"`
	PID       json.RawMessage   `json:"pid"`
	CreatedAt json.RawMessage   `json:"created_at"`
	Labels    map[string]string `json:"labels"`
}

// states maps smolvm's. A state that is not here is one of a later version: the
// machine is left alone, as a frozen one is.
var states = map[string]backend.State{
	"created":     backend.Created,
	"running":     backend.Running,
	"stopped":     backend.Stopped,
	"failed":      backend.Broken,
	"unreachable": backend.Broken,
	"frozen":      backend.Frozen,
}

// Status asks smolvm for one machine, whoever made it. Its ports are those that
// it was created with.
func (b *Backend) Status(ctx context.Context, name string) (backend.Status, error) {
	st, err := b.status(ctx, name)
	if err != nil {
		return backend.Status{}, fmt.Errorf("status of machine %s: %w", name, err)
	}
	return st, nil
}

func (b *Backend) status(ctx context.Context, name string) (backend.Status, error) {
	if err := checkName(name); err != nil {
		return backend.Status{}, fmt.Errorf("%w: %w", backend.ErrNotFound, err)
	}
	out, err := b.call(ctx, "machine", "status", "--name", name, "--json")
	if err != nil {
		return backend.Status{}, err
	}
	var m machineJSON
	if err := json.Unmarshal([]byte(out), &m); err != nil {
		return backend.Status{}, fmt.Errorf("smolvm machine status: %w", err)
	}
	if m.Name != name {
		return backend.Status{}, fmt.Errorf("smolvm machine status: it answered for machine %.100q", m.Name)
	}
	return b.convert(m), nil
}

// List returns none where smolvm is not installed, or cannot be used and never
// was.
func (b *Backend) List(ctx context.Context) ([]backend.Status, error) {
	out, err := b.call(ctx, "machine", "ls", "--json")
	if errors.Is(err, backend.ErrUnavailable) && (errors.Is(err, errNoProgram) || !b.used()) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list machines: %w", err)
	}
	var all []machineJSON
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		return nil, fmt.Errorf("list machines: smolvm machine ls: %w", err)
	}
	var list []backend.Status
	for _, m := range all {
		if b.ours(m.Name, m.Labels) {
			list = append(list, b.convert(m))
		}
	}
	slices.SortFunc(list, func(x, y backend.Status) int { return cmp.Compare(x.Name, y.Name) })
	return list, nil
}

// ours tells the machines that bottlebuild made: there is a record of it here,
// or, where that is lost or elsewhere, a label.
func (b *Backend) ours(name string, labels map[string]string) bool {
	if _, err := b.record(name); err == nil {
		return true
	}
	for k := range labels {
		if strings.HasPrefix(k, "bottlebuild.") {
			return true
		}
	}
	return false
}

func (b *Backend) convert(m machineJSON) backend.Status {
	state, ok := states[strings.ToLower(m.State)]
	if !ok {
		state = backend.Frozen
	}
	st := backend.Status{
		Name: m.Name, Backend: b.Name(), State: state, Labels: m.Labels, CreatedAt: timeOf(m.CreatedAt),
		CPUs: int(numberOf(m.CPUs)), MemoryMiB: int(numberOf(m.MemoryMiB)),
	}
	if state == backend.Running {
		st.PID = int(numberOf(m.PID))
	}
	if r, err := b.record(m.Name); err == nil {
		st.Ports = r.Ports
	}
	return st
}

// numberOf returns 0 for what is no number.
func numberOf(raw json.RawMessage) int64 {
	var n int64
	if json.Unmarshal(raw, &n) != nil {
		return 0
	}
	return n
}

// timeOf reads seconds since 1970, as a number or in quotes, and RFC 3339; it
// returns the zero time for anything else.
func timeOf(raw json.RawMessage) time.Time {
	raw = bytes.Trim(raw, `"`)
	if n := numberOf(raw); n > 0 {
		return time.Unix(n, 0).UTC()
	}
	t, err := time.Parse(time.RFC3339Nano, string(raw))
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}
