package tasks

import (
	"context"
	"fmt"
	"time"

	"bottlebuild/tasks/backend"
)

// healthTimeout bounds one probe of a machine that somebody looks at.
const healthTimeout = 5 * time.Second

// Probe asks a machine's readiness probe once. known is false for a machine that
// has none or does not run. Secrets are not read for it, so the answer of a
// command that may miss one is not known either; err is why a machine is not ready.
func (w *Worker) Probe(ctx context.Context, m MachineStatus) (known bool, err error) {
	if m.Record == nil || m.Record.Machine.Ready == nil || m.State != backend.Running {
		return false, nil
	}
	be, err := w.Backends.Named(ctx, m.Record.Backend, m.Record.Machine.Runtime)
	if err != nil {
		return false, err
	}
	p := m.Record.Machine
	secrets := len(p.Secrets) > 0
	p.Secrets = nil
	limit, cancel := context.WithTimeoutCause(ctx, healthTimeout, fmt.Errorf("its probe did not answer within %s", healthTimeout))
	defer cancel()
	err = w.guest(be, p).probe(limit)
	if err != nil && secrets && len(p.Ready.Exec) > 0 {
		return false, nil
	}
	return true, err
}
