package smolvm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/smolvm/sidecar"
)

// What "machine create" takes for "as the pack says" when it is asked for just
// these numbers.
const (
	defaultCPUs = 4
	defaultMem  = 8192 // MiB
)

// nowhere is a network that is never routed (RFC 5737, TEST-NET-1). A published
// port gives a machine a network, which without any list is an open one; with
// this list, nothing can be reached through it.
const nowhere = "192.0.2.1/32"

// cleanupTimeout bounds what is undone after the caller's context has ended.
const cleanupTimeout = 30 * time.Second

// Create makes a machine from a hard link to the pack, which therefore outlives
// the store's copy. The pack's SHA-256 is verified first: smolvm itself checks
// nothing.
//
// A spec with ports and no network lets the machine reach nothing but, on
// some versions, a name server; smolvm knows no ports without a network.
func (b *Backend) Create(ctx context.Context, spec backend.Spec, pack cache.Output) error {
	if err := b.create(ctx, spec, pack); err != nil {
		return fmt.Errorf("create machine %s: %w", spec.Name, err)
	}
	return nil
}

func (b *Backend) create(ctx context.Context, spec backend.Spec, pack cache.Output) error {
	if err := b.Validate(spec); err != nil {
		return err
	}
	for _, v := range spec.Volumes {
		if fi, err := os.Stat(v.Host); err != nil {
			return fmt.Errorf("volume: %w", err)
		} else if !fi.IsDir() {
			return fmt.Errorf("volume: %s is not a directory", v.Host)
		}
	}
	flags, err := b.flagsOf(ctx, "machine", "create")
	if err != nil {
		return err
	}
	_, err = b.Status(ctx, spec.Name)
	if err == nil {
		return errors.New("there is a machine of that name already")
	}
	if !errors.Is(err, backend.ErrNotFound) {
		return err
	}
	from, m, err := b.keep(ctx, spec, pack)
	if err != nil {
		return errors.Join(err, b.forget(spec.Name))
	}
	args, fix, err := createArgs(spec, m, from, flags)
	if err == nil {
		_, err = b.call(ctx, args...)
	}
	if err == nil && len(fix) > 0 {
		_, err = b.call(ctx, fix...)
	}
	if err == nil {
		err = b.confirmCreated(ctx, spec)
	}
	if err == nil {
		return nil
	}
	// Whatever is there of the machine now is ours: it was not there before.
	undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	return errors.Join(err, b.remove(undo, spec.Name), b.forget(spec.Name))
}

// confirmCreated looks whether what smolvm said it made is there, with its
// labels: by these it is known later.
func (b *Backend) confirmCreated(ctx context.Context, spec backend.Spec) error {
	st, err := b.status(ctx, spec.Name)
	if err != nil {
		return fmt.Errorf("smolvm machine create succeeded, and yet: %w", err)
	}
	for k, v := range spec.Labels {
		if st.Labels[k] != v {
			return fmt.Errorf("smolvm machine create succeeded, but the machine lacks its label %s: update smolvm", k)
		}
	}
	return nil
}

// createArgs returns the command that makes a machine, and one that puts right
// what it cannot say, if that is so.
func createArgs(spec backend.Spec, m sidecar.Manifest, from string, flags flagSet) (args, fix []string, err error) {
	for _, f := range []string{"--from", "--label"} {
		if !flags[f] {
			return nil, nil, fmt.Errorf("%w: this smolvm's \"machine create\" has no %s: update smolvm", backend.ErrUnsupported, f)
		}
	}
	args = []string{"machine", "create", "--name", spec.Name, "--from", from}
	for _, k := range slices.Sorted(maps.Keys(spec.Labels)) {
		args = append(args, "--label", k+"="+spec.Labels[k])
	}
	number := func(flag string, n, ambiguous, packs int) {
		if n <= 0 {
			return
		}
		args = append(args, flag, strconv.Itoa(n))
		if n == ambiguous && packs != ambiguous {
			fix = append(fix, flag, strconv.Itoa(n))
		}
	}
	number("--cpus", spec.CPUs, defaultCPUs, m.CPUs)
	number("--mem", spec.MemoryMiB, defaultMem, m.Mem)
	if fix != nil {
		fix = append([]string{"machine", "update", "--name", spec.Name}, fix...)
	}
	if spec.StorageGiB > 0 {
		args = append(args, "--storage", strconv.Itoa(spec.StorageGiB))
	}
	for _, k := range slices.Sorted(maps.Keys(spec.Env)) {
		args = append(args, "-e", k+"="+spec.Env[k])
	}
	for _, p := range spec.Ports {
		args = append(args, "-p", fmt.Sprintf("%d:%d", p.Host, p.Guest))
	}
	for _, v := range spec.Volumes {
		arg := v.Host + ":" + v.Guest
		if v.ReadOnly {
			arg += ":ro"
		}
		args = append(args, "-v", arg)
	}
	return append(args, networkArgs(spec)...), fix, nil
}

// networkArgs returns no flag for no network: with any flag and an empty list,
// smolvm lets everything through.
func networkArgs(spec backend.Spec) []string {
	n := spec.Network
	if n != nil && n.Open {
		return []string{"--net"}
	}
	var args []string
	if n != nil {
		for _, h := range n.AllowHosts {
			args = append(args, "--allow-host", h)
		}
		for _, c := range n.AllowCIDRs {
			args = append(args, "--allow-cidr", c)
		}
	}
	if len(args) == 0 && len(spec.Ports) > 0 {
		args = []string{"--allow-cidr", nowhere}
	}
	return args
}
