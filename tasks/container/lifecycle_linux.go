package container

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// cleanupTime bounds how long is spent on cleaning up, which a cancelled context
// does not stop.
const cleanupTime = 30 * time.Second

// id names the machine to the runtime, and its cgroup: machines of another state
// directory may have the same name.
func (b *Backend) id(name string) string {
	sum := sha256.Sum256([]byte(b.conf.StateDir))
	return name + "." + hex.EncodeToString(sum[:4])
}

// Create implements [backend.Backend].
func (b *Backend) Create(ctx context.Context, spec backend.Spec, pack cache.Output) error {
	if err := b.Validate(spec); err != nil {
		return fmt.Errorf("create machine %s: %w", spec.Name, err)
	}
	if err := b.create(ctx, spec, pack); err != nil {
		return fmt.Errorf("create machine %s: %w", spec.Name, err)
	}
	return nil
}

func (b *Backend) create(ctx context.Context, spec backend.Spec, pack cache.Output) error {
	doc, err := b.document(pack)
	if err != nil {
		return fmt.Errorf("pack %s: %w", pack.Digest, err)
	}
	if err := backend.CheckHostDirs(spec.Volumes); err != nil {
		return err
	}
	if _, err := b.rootfs(ctx, doc, nil); err != nil {
		return err
	}
	unlock, err := b.lockMachine(ctx, spec.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := b.load(spec.Name); !errors.Is(err, backend.ErrNotFound) {
		return errors.Join(errors.New("there is a machine of that name"), err)
	}
	// What a process that died here before may have left.
	if err := b.wipe(ctx, spec.Name); err != nil {
		return err
	}
	if spec.CPUs == 0 {
		spec.CPUs = DefaultCPUs
	}
	if spec.MemoryMiB == 0 {
		spec.MemoryMiB = DefaultMemoryMiB
	}
	m := &machine{Version: machineVersion, Spec: spec, Pack: pack.Digest, Document: doc, Created: time.Now().UTC().Truncate(time.Millisecond)}
	if err := b.makeDir(m); err != nil {
		return errors.Join(err, os.RemoveAll(b.dir(spec.Name)))
	}
	return nil
}

// makeDir makes the machine's directory; machine.json, last, makes it a machine.
func (b *Backend) makeDir(m *machine) error {
	for _, d := range []string{"upper", "work", "rootfs", "etc"} {
		if err := os.MkdirAll(b.file(m.Spec.Name, d), 0o700); err != nil {
			return err
		}
	}
	// The mode of upper is that of the machine's root directory.
	if err := os.Chmod(b.file(m.Spec.Name, "upper"), 0o755); err != nil {
		return err
	}
	for name, content := range etcFiles(m.Spec) {
		if err := os.WriteFile(b.file(m.Spec.Name, "etc/"+name), []byte(content), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(b.file(m.Spec.Name, "etc/"+name), 0o644); err != nil { // whatever the umask
			return err
		}
	}
	return b.save(m)
}

// Start implements [backend.Backend].
func (b *Backend) Start(ctx context.Context, name string) error {
	if _, err := b.load(name); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	unlock, err := b.lockMachine(ctx, name)
	if err != nil {
		return fmt.Errorf("start machine %s: %w", name, err)
	}
	defer unlock()
	m, err := b.load(name)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	r, err := b.loadRun(name)
	if err != nil {
		return err
	}
	if r.alive() {
		if b.intact(m, r) == nil {
			return nil
		}
		// What it has lost cannot be given back to it while it runs.
		if err := b.stop(ctx, name); err != nil {
			return fmt.Errorf("start machine %s: %w", name, err)
		}
	}
	if err := b.boot(ctx, m); err != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTime)
		defer cancel()
		return errors.Join(fmt.Errorf("start machine %s: %w", name, err), b.clear(cleanup, name))
	}
	return nil
}

// boot starts a machine that does not run.
func (b *Backend) boot(ctx context.Context, m *machine) error {
	name := m.Spec.Name
	rt, err := b.runtime(b.conf.Runtime)
	if err != nil {
		return err
	}
	// A machine that ended by itself, or with the host, left all of this.
	if err := b.clear(ctx, name); err != nil {
		return err
	}
	if err := backend.CheckHostDirs(m.Spec.Volumes); err != nil {
		return err
	}
	lower, err := b.rootfs(ctx, m.Document, nil)
	if err != nil {
		return err
	}
	if err := b.placeInit(name); err != nil {
		return err
	}
	if !m.Started {
		m.Started = true
		if err := b.save(m); err != nil {
			return err
		}
	}
	r := &run{Runtime: rt.program}
	if r.Lower, err = inodeOf(lower); err != nil {
		return err
	}
	if err := writeState(b.file(name, "run.json"), r); err != nil {
		return err
	}
	if err := b.mount(name, lower); err != nil {
		return err
	}
	spec, err := m.ociSpec(b.dir(name), "/"+cgroupParent+"/"+b.id(name))
	if err != nil {
		return err
	}
	if err := writeState(b.file(name, "config.json"), spec); err != nil {
		return err
	}
	pid, err := b.launch(ctx, rt, m, r)
	if err != nil {
		return err
	}
	if r.process, err = thisProcess(pid); err != nil {
		return fmt.Errorf("it ended at once: %w", err)
	}
	if r.Forwarder, err = b.publish(ctx, m.Spec.Ports, pid); err != nil {
		return err
	}
	return writeState(b.file(name, "run.json"), r)
}

// launch has the runtime make the machine and, when its network is up, start it.
// It returns the number of the machine's first process.
func (b *Backend) launch(ctx context.Context, rt oci, m *machine, r *run) (pid int, err error) {
	name := m.Spec.Name
	console, err := os.OpenFile(b.file(name, "console.log"), os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return 0, err
	}
	defer console.Close()
	pidFile := b.file(name, "pid")
	// runc writes the number to ".pid" and renames that; a runc that was killed
	// in between has left it, and the next one would refuse to start.
	for _, stale := range []string{pidFile, b.file(name, ".pid")} {
		if err := ignoreNotExist(os.Remove(stale)); err != nil {
			return 0, err
		}
	}
	if err := rt.callTo(ctx, console, b.dir(name), "create", "--bundle", b.dir(name), "--pid-file", pidFile, b.id(name)); err != nil {
		return 0, err
	}
	if pid, err = readPID(pidFile); err != nil {
		return 0, err
	}
	if err := inNetwork(pid, loopbackUp); err != nil {
		return 0, fmt.Errorf("bring up the loopback: %w", err)
	}
	if r.Uplink, err = b.connect(ctx, m.Spec.Network, pid); err != nil {
		return 0, err
	}
	return pid, rt.call(ctx, b.dir(name), "start", b.id(name))
}
