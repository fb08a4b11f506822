package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/progress"
)

func (w *Worker) describeMachine(ctx context.Context, p Machine, s graph.Spec, r *cache.Recipe) error {
	be, err := w.Backends.Named(ctx, p.Backend, p.Runtime)
	if err != nil {
		return err
	}
	if err := be.Validate(w.backendSpec(p, s)); err != nil {
		return err
	}
	r.Components = machineRecipe(be, p, s.Inputs[p.Pack].Digest).Components
	return nil
}

// machineRecipe is of what cannot be changed in a machine that exists, when it is
// made with that backend from that pack; a zero digest is one that is not known.
// Ready, Checks, SelfTest, OnError, Replace, where secrets are read from, and how
// often and how long provisioning is tried, are left out: a change of theirs
// needs no other machine.
func machineRecipe(be backend.Backend, p Machine, pack cache.Digest) *cache.Recipe {
	r := cache.NewRecipe(KindMachine)
	if !pack.IsZero() {
		r.AddDigest("pack", pack)
	}
	r.Add("backend", be.Name())
	r.Add("runtime", p.Runtime)
	r.Add("name", p.Name)
	r.Add("cpus", strconv.Itoa(p.CPUs))
	r.Add("memory", strconv.Itoa(p.MemoryMiB))
	r.Add("storage", strconv.Itoa(p.StorageGiB))
	r.AddMap("env", p.Env)
	for name, ref := range p.Secrets {
		describeSecret("secrets."+name, ref, r)
	}
	if p.Restart != "" && p.Restart != RestartNever {
		r.Add("restart", p.Restart)
	}
	r.Add("user", p.User)
	r.Add("workdir", p.Workdir)
	if p.Network != nil {
		r.Add("network.open", strconv.FormatBool(p.Network.Open))
		r.AddList("network.allow_hosts", p.Network.AllowHosts)
		r.AddList("network.allow_cidrs", p.Network.AllowCIDRs)
	}
	for _, f := range p.Files {
		r.AddList("file."+f.Path, []string{cache.DigestOf(f.Content).String(), strconv.FormatUint(uint64(f.Mode), 8), f.Owner})
	}
	for _, port := range p.Ports {
		r.Add(fmt.Sprintf("port.%d", port.Host), strconv.Itoa(port.Guest))
	}
	for _, v := range p.Volumes {
		parts := []string{v.Host, strconv.FormatBool(v.ReadOnly)}
		if v.Name != "" {
			parts = append(parts, v.Name)
		}
		r.AddList("volume."+v.Guest, parts)
	}
	for i, pr := range p.Provision {
		r.AddList(fmt.Sprintf("provision.%d", i), append([]string{pr.User}, pr.Exec...))
		r.AddMap(fmt.Sprintf("provision.%d.env", i), pr.Env)
		if pr.ContinueOnError {
			r.Add(fmt.Sprintf("provision.%d.continue_on_error", i), "true")
		}
	}
	r.Conceal(p.Sensitive...)
	return r
}

func (w *Worker) backendSpec(p Machine, s graph.Spec) backend.Spec {
	spec := backend.Spec{
		Name: p.Name, CPUs: p.CPUs, MemoryMiB: p.MemoryMiB, StorageGiB: p.StorageGiB,
		User: p.User, Workdir: p.Workdir, Restart: backend.Restart(p.Restart),
		Labels: map[string]string{
			backend.SpecLabel: s.Key.String(), backend.ProjectLabel: p.Project,
			backend.AddressLabel: s.Address, backend.PackLabel: s.Inputs[p.Pack].Digest.String(),
		},
	}
	spec.Env, spec.SecretEnv = splitEnv(p)
	if n := p.Network; n != nil && (n.Open || len(n.AllowHosts)+len(n.AllowCIDRs) > 0) {
		spec.Network = &backend.Network{Open: n.Open, AllowHosts: n.AllowHosts, AllowCIDRs: n.AllowCIDRs}
	}
	for _, port := range p.Ports {
		spec.Ports = append(spec.Ports, backend.Port(port))
	}
	for _, v := range p.Volumes {
		spec.Volumes = append(spec.Volumes, backend.Volume{Host: w.Volumes.host(p.Name, v), Guest: v.Guest, ReadOnly: v.ReadOnly})
	}
	return spec
}

// runMachine makes the machine what its spec says: running, provisioned, ready.
func (w *Worker) runMachine(ctx context.Context, p Machine, work graph.Work) (out cache.Output, err error) {
	be, _, err := w.Backends.Ready(ctx, p.Backend, p.Runtime)
	if err != nil {
		return out, err
	}
	unlock, err := w.Records.Lock(ctx, p.Name)
	if err != nil {
		return out, err
	}
	defer unlock()
	d, err := w.reconcile(ctx, be, p, work.Key)
	if err == nil {
		err = d.refused
	}
	if err != nil {
		return out, err
	}
	if d.action == ActionCreate || d.action == ActionReplace {
		if _, err := w.needInput(ctx, work, p.Pack); err != nil {
			return out, err
		}
	}
	g := w.guest(be, p)
	if d.action != ActionNone {
		if err := g.prepare(ctx); err != nil {
			return out, err
		}
	}
	step := progress.Start(w.sink(work), d.action+" machine "+p.Name+" with "+be.Name())
	defer func() { step.Done(err) }()
	switch d.action {
	case ActionReplace:
		if err := w.discard(ctx, be, p, work); err != nil {
			return out, err
		}
		fallthrough
	case ActionCreate:
		err = w.createMachine(ctx, g, work, step.Writer())
	case ActionStart, ActionUpdate:
		if err = be.Start(ctx, p.Name); err != nil {
			err = w.makeAnew(ctx, g, work, err, step.Writer())
			break
		}
		if err = g.settle(ctx, step.Writer()); err == nil {
			err = w.selfTest(ctx, be, p, work, true, step.Writer())
		}
		if err == nil {
			err = w.Records.Put(&Record{Machine: p, Backend: be.Name(), Address: work.Address, Spec: work.Key, Complete: true})
		}
	}
	if err != nil {
		return out, err
	}
	return machineOutput(be, p, work.Key), nil
}

// makeAnew replaces a machine that is broken and could not be started, where the
// bottle file lets its disk be discarded. Else it returns why it did not start.
func (w *Worker) makeAnew(ctx context.Context, g *guest, work graph.Work, failure error, log io.Writer) error {
	p := g.p
	st, err := g.be.Status(ctx, p.Name)
	if err != nil || st.State != backend.Broken || ctx.Err() != nil {
		return failure
	}
	if mayReplace(p, st, "") != nil {
		return fmt.Errorf("%w\nmachine %s is broken, and replace = %q forbids to discard its disk: remove it with: bottlebuild down %s", failure, p.Name, p.Replace, p.Name)
	}
	fmt.Fprintf(log, "it is broken and does not start, so it is made anew: %v\n", failure)
	if _, err := w.needInput(ctx, work, p.Pack); err != nil {
		return errors.Join(failure, err)
	}
	if err := w.discard(ctx, g.be, p, work); err != nil {
		return errors.Join(failure, err)
	}
	return w.createMachine(ctx, g, work, log)
}

// createMachine makes a new machine. One that cannot be set up is removed again,
// or kept for a look at it, as the bottle file says.
func (w *Worker) createMachine(ctx context.Context, g *guest, work graph.Work, log io.Writer) error {
	be, p := g.be, g.p
	spec := w.backendSpec(p, graph.Spec{Address: work.Address, Key: work.Key, Inputs: work.Inputs})
	rec := &Record{Machine: p, Backend: be.Name(), Address: work.Address, Spec: work.Key}
	if err := w.Records.Put(rec); err != nil {
		return err
	}
	// The pack stays in the cache for as long as there is a record.
	err := w.Store.Pin(w.Records.path(p.Name), work.Inputs[p.Pack].Blobs)
	if err == nil {
		err = w.Volumes.make(p)
	}
	if err == nil {
		err = be.Create(ctx, spec, work.Inputs[p.Pack])
	}
	if err != nil { // and there is no machine
		return errors.Join(err, w.Records.Delete(p.Name))
	}
	if err = g.setUp(ctx, log); err == nil {
		err = w.selfTest(ctx, be, p, work, false, log)
	}
	if err == nil {
		rec.Complete = true
		return w.Records.Put(rec)
	}
	if p.OnError == OnErrorKeep && !errors.Is(ctx.Err(), context.Canceled) {
		rec.Failure = err.Error()
		return errors.Join(fmt.Errorf("%w\nit is kept as it is, for a look at it: bottlebuild shell %s, bottlebuild logs %s; the next run replaces it, and bottlebuild down %s removes it", err, p.Name, p.Name, p.Name), w.Records.Put(rec))
	}
	clean := context.WithoutCancel(ctx)
	if derr := be.Delete(clean, p.Name); derr != nil {
		return errors.Join(err, derr) // the record stays: the next run replaces it
	}
	return errors.Join(err, w.Records.Delete(p.Name))
}
