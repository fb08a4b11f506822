package smolvm

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"bottlebuild/internal/lazyregexp"
	"bottlebuild/tasks/backend"
)

const openNoFollow = syscall.O_NOFOLLOW

var (
	// machineName is what smolvm and DNS both take; "--" and lengths are checked
	// apart: compiled into a pattern, they would take much of every start.
	machineName = lazyregexp.New(`^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$`)
	hostName    = lazyregexp.New(`^(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?$`)
	envName     = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_.-]*$`)
	labelName   = lazyregexp.New(`^[A-Za-z0-9][A-Za-z0-9_./-]*$`)
)

// The bounds of smolvm's own flags.
const (
	maxCPUs      = 255 // an unsigned byte
	maxMemoryMiB = 1<<31 - 1
	maxPort      = 1<<16 - 1
	// And those of DNS.
	maxMachineName = 63
	maxHostName    = 253
)

// Validate reports everything in the spec that smolvm cannot do, at once.
func (b *Backend) Validate(spec backend.Spec) error {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("%w: "+format, append([]any{backend.ErrUnsupported}, args...)...))
	}
	if err := checkName(spec.Name); err != nil {
		bad("%w", err)
	}
	if spec.CPUs < 0 || spec.CPUs > maxCPUs {
		bad("cpus = %d: smolvm takes 1 to %d", spec.CPUs, maxCPUs)
	}
	if spec.MemoryMiB < 0 || spec.MemoryMiB > maxMemoryMiB {
		bad("memory of %d MiB", spec.MemoryMiB)
	}
	if spec.Restart != "" && spec.Restart != backend.RestartNever {
		bad("restart = %q: smolvm runs the image's command once: remove restart, or use backend = \"container\"", spec.Restart)
	}
	if spec.StorageGiB < 0 {
		bad("storage of %d GiB", spec.StorageGiB)
	}
	for _, env := range []map[string]string{spec.Env, spec.SecretEnv} {
		for k, v := range env {
			if err := checkVariable(k, v); err != nil {
				bad("%w", err)
			}
		}
	}
	for k, v := range spec.Labels {
		if !labelName.MatchString(k) || strings.ContainsRune(v, 0) {
			bad("label %q", k)
		}
	}
	hosts := map[int]bool{}
	for _, p := range spec.Ports {
		switch {
		case p.Host < 1 || p.Host > maxPort || p.Guest < 1 || p.Guest > maxPort:
			bad("port %d to %d: ports are 1 to %d", p.Host, p.Guest, maxPort)
		case hosts[p.Host]:
			bad("port %d of the host is published twice", p.Host)
		}
		hosts[p.Host] = true
	}
	guests := map[string]bool{}
	for _, v := range spec.Volumes {
		guest := path.Clean(v.Guest)
		switch {
		case !filepath.IsAbs(v.Host) || !path.IsAbs(v.Guest):
			bad("volume %q at %q: both paths must be absolute", v.Host, v.Guest)
		case strings.ContainsAny(v.Host+v.Guest, ":\x00"):
			bad("volume %q at %q: smolvm separates paths with a colon, so neither may have one", v.Host, v.Guest)
		case guest == "/":
			bad("volume %q at the guest's root", v.Host)
		case guests[guest]:
			bad("two volumes at %q", v.Guest)
		}
		guests[guest] = true
	}
	if n := spec.Network; n != nil {
		for _, h := range n.AllowHosts {
			if !hostName.MatchString(h) || len(strings.TrimPrefix(h, "*.")) > maxHostName {
				bad("allow_hosts: %q is no host name", h)
			}
		}
		for _, c := range n.AllowCIDRs {
			if !isCIDR(c) {
				bad("allow_cidrs: %q is neither a network nor an address", c)
			}
		}
		if n.Open && len(n.AllowHosts)+len(n.AllowCIDRs) > 0 {
			bad("a network that is open and has a list of what it may reach")
		}
	}
	return errors.Join(errs...)
}

// checkName also keeps a name from being taken for a flag or a path.
func checkName(name string) error {
	if !machineName.MatchString(name) || len(name) > maxMachineName || strings.Contains(name, "--") {
		return fmt.Errorf("machine name %.100q: it must be 1 to 63 of a-z, 0-9 and single hyphens, and begin and end with a letter or digit", name)
	}
	return nil
}

func checkVariable(name, value string) error {
	if !envName.MatchString(name) || strings.ContainsRune(value, 0) {
		return fmt.Errorf("environment variable %.100q", name)
	}
	return nil
}

func isCIDR(s string) bool {
	if _, err := netip.ParsePrefix(s); err == nil {
		return true
	}
	_, err := netip.ParseAddr(s)
	return err == nil
}
