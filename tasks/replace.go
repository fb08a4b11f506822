package tasks

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"syscall"

	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
)

// discard deletes a machine whose place another one is to take, with its disk:
// only if what that one needs of the host is there. Else the machine stays.
func (w *Worker) discard(ctx context.Context, be backend.Backend, p Machine, work graph.Work) error {
	st, err := be.Status(ctx, p.Name)
	if errors.Is(err, backend.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = be.Validate(w.backendSpec(p, graph.Spec{Address: work.Address, Key: work.Key, Inputs: work.Inputs}))
	}
	if err == nil && st.PID == 0 && len(p.Ports) > 0 {
		// Of a start that was cut off, something may still hold its ports. If that
		// cannot be ended, the port is reported.
		_ = be.Stop(ctx, p.Name)
	}
	if err == nil {
		err = checkHost(ctx, p, st)
	}
	if err != nil {
		return fmt.Errorf("replace machine %s: %w; the machine that is there stays as it is", p.Name, err)
	}
	return be.Delete(ctx, p.Name)
}

// checkHost reports which directory of the host is not there, or which port of it
// not free, of those that a machine is to have in place of the one that was.
func checkHost(ctx context.Context, p Machine, was backend.Status) error {
	var shared []backend.Volume
	for _, v := range p.Volumes {
		if v.Name == "" { // the others are made
			shared = append(shared, backend.Volume{Host: v.Host})
		}
	}
	if err := backend.CheckHostDirs(shared); err != nil {
		return err
	}
	for _, port := range p.Ports {
		if was.PID != 0 && slices.ContainsFunc(was.Ports, func(own backend.Port) bool { return own.Host == port.Host }) {
			continue
		}
		var c net.ListenConfig
		l, err := c.Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port.Host)))
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("publish port %d: another process of this host uses it: end that, or choose another port", port.Host)
		}
		if err != nil {
			return fmt.Errorf("publish port %d: %w", port.Host, err)
		}
		l.Close()
	}
	return nil
}
