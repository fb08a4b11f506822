package container

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"bottlebuild/tasks/backend"
)

const notice = "container backend: shares the host's kernel, weaker isolation than a VM"

// Preflight implements [backend.Backend].
func (b *Backend) Preflight(ctx context.Context) (backend.Info, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.info == nil {
		info, err := b.preflight(ctx)
		if ctx.Err() != nil { // which says nothing about the machine
			return backend.Info{}, ctx.Err()
		}
		if err != nil {
			err = fmt.Errorf("%w: container: %w", backend.ErrUnavailable, err)
		}
		b.info, b.err = &info, err
	}
	return *b.info, b.err
}

func (b *Backend) preflight(ctx context.Context) (backend.Info, error) {
	if os.Geteuid() != 0 {
		return backend.Info{}, errors.New("it needs root: run bottlebuild with sudo")
	}
	rt, err := b.runtime(b.conf.Runtime)
	if err != nil {
		return backend.Info{}, fmt.Errorf("%s is not installed: %s", b.conf.Runtime, howToInstall(b.conf.Runtime))
	}
	version, err := rt.version(ctx)
	for _, check := range []func() error{b.checkDirs, checkOverlay, cgroups.check, rt.checkHybrid, b.checkInit} {
		err = errors.Join(err, check()) // all that is missing is told at once
	}
	if err != nil {
		return backend.Info{}, err
	}
	return backend.Info{Name: filepath.Base(rt.program), Version: version, Notice: notice}, nil
}

func howToInstall(runtime string) string {
	switch filepath.Base(runtime) {
	case "runc", "crun":
		return "apt-get install " + filepath.Base(runtime) + " (or dnf, apk, pacman)"
	case "krun":
		return "it is crun with libkrun, of Fedora's package crun-krun; put it on PATH, or choose runc"
	case "runsc":
		return "it is gVisor's, see https://gvisor.dev/docs/user_guide/install/; put it on PATH, or choose runc"
	case "kata-runtime":
		return "it is Kata Containers', see https://katacontainers.io; put it on PATH, or choose runc"
	}
	return "put it on PATH, or choose runc"
}

// version returns what follows "version" in the first line of NAME --version.
func (o oci) version(ctx context.Context) (string, error) {
	cmd := exec.CommandContext(ctx, o.program, "--version")
	cmd.WaitDelay = runtimeWait
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s --version: %w", o.program, err)
	}
	line, _, _ := bytes.Cut(out, []byte("\n"))
	version := strings.TrimSpace(string(line))
	if _, after, ok := strings.Cut(version, "version "); ok {
		version = after
	}
	if version == "" || len(version) > 100 {
		return "", fmt.Errorf("%s --version prints %.100q, no version", o.program, version)
	}
	return version, nil
}

// overlayMagic is the type of an overlay in statfs(2).
const overlayMagic = 0x794c7630

func (b *Backend) checkDirs() error {
	if !filepath.IsAbs(b.conf.StateDir) {
		return fmt.Errorf("its state directory %q is not absolute", b.conf.StateDir)
	}
	for _, dir := range []string{b.conf.StateDir, b.conf.Store.Dir()} {
		if err := checkMountable(dir); err != nil {
			return err
		}
	}
	dir := b.conf.StateDir
	var st unix.Statfs_t
	for unix.Statfs(dir, &st) == unix.ENOENT && dir != "/" {
		dir = filepath.Dir(dir) // it is made later
	}
	if st.Type == overlayMagic {
		return fmt.Errorf("%s is on an overlay, as in a container, and a machine's disk cannot be; mount a volume or a tmpfs there", dir)
	}
	return nil
}

func checkOverlay() error {
	b, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte("\toverlay\n")) {
		return errors.New("the kernel has no overlayfs loaded: modprobe overlay")
	}
	return nil
}

// checkHybrid finds what crun refuses: version 1 of cgroups with controllers in
// a version 2 beside it.
func (o oci) checkHybrid() error {
	if filepath.Base(o.program) != "crun" {
		return nil
	}
	if cgroups.hybrid() {
		return errors.New("crun cannot work here, where both versions of cgroups have controllers: use runc")
	}
	return nil
}

// checkInit makes sure that the init binary runs in an image without libraries.
func (b *Backend) checkInit() error {
	f, err := elf.Open(b.conf.Init)
	if err != nil {
		return fmt.Errorf("init binary %s: %w", b.conf.Init, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s needs shared libraries, which machines may lack: build it with CGO_ENABLED=0", b.conf.Init)
		}
	}
	return nil
}
