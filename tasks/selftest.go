package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/registry"
	"bottlebuild/tasks/selftest"
)

// withSamples adds to a pack what machines made from it can be told by.
func (w *Worker) withSamples(ctx context.Context, pack, image cache.Output) (cache.Output, error) {
	manifest := slices.IndexFunc(image.Blobs, func(b cache.Blob) bool { return b.Digest == image.Digest })
	if manifest < 0 {
		return pack, nil
	}
	img, err := registry.Image(w.Store, image.Blobs[manifest])
	if err != nil {
		return pack, err
	}
	files, err := selftest.Sample(ctx, img)
	if err != nil {
		return pack, err
	}
	attrs := maps.Clone(pack.Attrs)
	if attrs == nil {
		attrs = map[string]string{}
	}
	attrs[selftest.SamplesAttr] = selftest.FormatSamples(files)
	pack.Attrs = attrs
	return pack, nil
}

// selfTest tests a machine that has booted, unless that is turned off or one of
// this pack and this spec has passed on this host. used: it is not new.
func (w *Worker) selfTest(ctx context.Context, be backend.Backend, p Machine, work graph.Work, used bool, log io.Writer) error {
	if !p.SelfTest {
		return nil
	}
	info, err := be.Preflight(ctx)
	if err != nil {
		return err
	}
	pack := work.Inputs[p.Pack]
	key := passKey(pack.Digest, work.Key, info)
	if w.Records.passed(key) {
		return nil
	}
	began := time.Now()
	n, err := selftest.Run(ctx, be, w.underTest(p, pack, used))
	if errors.Is(err, selftest.ErrImpossible) {
		w.Backends.notice(fmt.Sprintf("machine %s: %v", p.Name, err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("machine %s: %w", p.Name, err)
	}
	fmt.Fprintf(log, "self-test: %d checks passed in %s\n", n, time.Since(began).Round(10*time.Millisecond))
	return w.Records.pass(key)
}

func (w *Worker) underTest(p Machine, pack cache.Output, used bool) selftest.Machine {
	plain, sensitive := splitEnv(p)
	m := selftest.Machine{
		Name: p.Name, Arch: arch(w.Platform), Env: plain, SecretEnv: sensitive,
		User: p.User, Workdir: p.Workdir, Used: used, Samples: selftest.ParseSamples(pack.Attrs[selftest.SamplesAttr]),
	}
	if n := p.Network; n != nil {
		m.Network = &backend.Network{Open: n.Open, AllowHosts: n.AllowHosts, AllowCIDRs: n.AllowCIDRs}
	}
	user, _, _ := strings.Cut(p.User, ":")
	for _, f := range p.Files {
		if owner, _, _ := strings.Cut(f.Owner, ":"); owner != user {
			m.Others = append(m.Others, f.Path)
		}
	}
	return m
}

// arch returns the processor of a platform.
func arch(platform string) string {
	_, rest, _ := strings.Cut(platform, "/")
	arch, _, _ := strings.Cut(rest, "/")
	return arch
}

// passKey names a test: what was tested, the tests, and all of this host that
// decides how it comes out.
func passKey(pack cache.Digest, spec cache.Key, info backend.Info) cache.Digest {
	host, _ := os.Hostname()
	machine, _ := os.ReadFile("/etc/machine-id")
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return cache.DigestOf([]byte(strings.Join([]string{
		selftest.Version, pack.String(), spec.String(), info.Name, info.Version,
		runtime.GOOS, host, strings.TrimSpace(string(machine)), strings.TrimSpace(string(kernel)),
	}, "\x00")))
}

// maxPassAge is how long a passed test counts that nobody asks for.
const maxPassAge = 90 * 24 * time.Hour

// passed reports whether a test was passed before.
func (r Records) passed(key cache.Digest) bool {
	path := filepath.Join(r.passes(), key.Hex())
	fi, err := os.Lstat(path)
	if err != nil || !fi.Mode().IsRegular() {
		return false
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // it is of use, and stays
	return true
}

// pass records a test that was passed, and drops those that nobody asks for.
func (r Records) pass(key cache.Digest) error {
	if err := os.MkdirAll(r.passes(), 0o700); err != nil {
		return fmt.Errorf("record self-test: %w", err)
	}
	// There is nothing in it, so that it cannot be half written.
	if err := os.WriteFile(filepath.Join(r.passes(), key.Hex()), nil, 0o600); err != nil {
		return fmt.Errorf("record self-test: %w", err)
	}
	entries, err := os.ReadDir(r.passes())
	if err != nil {
		return fmt.Errorf("record self-test: %w", err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || time.Since(fi.ModTime()) < maxPassAge {
			continue
		}
		if err := os.Remove(filepath.Join(r.passes(), e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("record self-test: %w", err)
		}
	}
	return nil
}

func (r Records) passes() string { return filepath.Join(r.Dir, "passed") }
