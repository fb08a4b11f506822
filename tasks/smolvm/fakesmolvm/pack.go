//go:build linux

package main

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"bottlebuild/tasks/smolvm/fakesmolvm/pulled"
	"bottlebuild/tasks/smolvm/sidecar"
)

// What a pack says of a machine that was not asked for otherwise.
const (
	packCPUs = 4
	packMem  = 8192
)

func packCreate(p *parsed) error {
	ref, out := p.get("image"), p.get("output")
	switch {
	case ref == "" && !p.has("smolfile"), out == "":
		return usageError("the following required arguments were not provided: --image <REF> --output <OUT>")
	case p.has("smolfile"), p.has("single-file"):
		return errors.New("config operation failed: pack: this fake packs images only")
	case strings.HasSuffix(out, ".smolmachine"):
		if atLeast("1.7.0") {
			return errors.New("config operation failed: pack: output must not end in .smolmachine: that is the name of its sidecar")
		}
	case !strings.ContainsAny(ref[:min(1, len(ref))], alphanumeric):
		return errors.New("config operation failed: pack: image reference must start with alphanumeric character")
	}
	switch {
	case fault("pack:nokvm"):
		return errors.New("kvm not available: /dev/kvm does not exist")
	case fault("pack:slowboot"):
		return errors.New("agent operation failed: boot: agent did not become ready within 30 seconds")
	}
	stop, err := startHelper()
	if err != nil {
		return err
	}
	defer stop()
	if fault("pack:hang-late") {
		return hangWithChild()
	}
	fmt.Print("\x1b[2K\rPulling ", ref, " ...\r\x1b[32mBooting\x1b[0m virtual machine\n")
	staging, err := os.MkdirTemp(p.get("staging-dir"), "smolvm-staging-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(staging)
	img, err := pull(ref, p.get("oci-platform"), staging)
	if err != nil {
		return fmt.Errorf("agent operation failed: pull image: %w", err)
	}
	rootfs := filepath.Join(staging, "rootfs")
	if err := unpackImage(img, staging, rootfs); err != nil {
		return fmt.Errorf("agent operation failed: unpack: %w", err)
	}
	return writePack(out, rootfs, manifestOf(ref, img))
}

// pull reaches a registry as the guest would, through the program that lies
// beside this one under the same name and "-pull". A signal ends smolvm at once,
// and what packs stays: that program too.
func pull(ref, platform, dir string) (pulled.Image, error) {
	registry, _, _ := strings.Cut(ref, "/")
	host, _, err := net.SplitHostPort(registry)
	if ip := net.ParseIP(host); err == nil && (host == "localhost" || ip != nil && ip.IsLoopback()) &&
		atLeast("1.13.0") && os.Getenv("SMOLVM_ALLOW_HOST_LOOPBACK") != "1" {
		return pulled.Image{}, fmt.Errorf("connect to %s: connection refused: the host's loopback is closed to guests", registry)
	}
	if platform == "" {
		platform = "linux/" + runtime.GOARCH
	}
	self, err := os.Executable()
	if err != nil {
		return pulled.Image{}, err
	}
	if out, err := exec.Command(self+"-pull", ref, platform, dir).CombinedOutput(); err != nil {
		return pulled.Image{}, fmt.Errorf("%s: %w", bytes.TrimSpace(out), err)
	}
	return pulled.Read(dir)
}

func manifestOf(ref string, img pulled.Image) sidecar.Manifest {
	m := sidecar.Manifest{
		Mode: "container", Image: ref, Digest: img.ID, Platform: img.Platform(),
		Entrypoint: img.Entrypoint, Cmd: img.Cmd, Env: img.Env, Workdir: img.Workdir,
		SecretRefs: json.RawMessage(`{}`), CPUs: packCPUs, Mem: packMem, ImageSize: img.Size,
		HostPlatform: runtime.GOOS + "/" + runtime.GOARCH, Created: time.Now().UTC().Format(time.RFC3339Nano),
		SmolvmVersion: versionText(), Assets: json.RawMessage(`{"layers": []}`),
	}
	switch {
	case fault("pack:wrongdigest"):
		m.Digest = "sha256:" + strings.Repeat("0", 64)
	case fault("pack:wrongplatform"):
		m.Platform = "linux/mips"
	case fault("pack:network"):
		m.Network = true
	}
	return m
}

// writePack writes stub and sidecar in place, as smolvm does.
func writePack(out, rootfs string, m sidecar.Manifest) error {
	if err := os.WriteFile(out, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		return err
	}
	if fault("pack:nothing") {
		return nil
	}
	assets, err := os.CreateTemp("", "assets-")
	if err != nil {
		return err
	}
	defer os.Remove(assets.Name())
	defer assets.Close()
	if err := packTree(assets, rootfs); err != nil {
		return err
	}
	if _, err := assets.Seek(0, io.SeekStart); err != nil {
		return err
	}
	f, err := os.Create(out + ".smolmachine")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := sidecar.Write(f, assets, m); err != nil {
		return err
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if fault("pack:badcrc") {
		if _, err := f.WriteAt([]byte{0xff, 0x00, 0xff}, 16); err != nil {
			return err
		}
	}
	if fault("pack:truncate") {
		return f.Truncate(fi.Size() / 2)
	}
	if fault("pack:crash-half") {
		if err := f.Truncate(fi.Size() / 2); err != nil {
			return err
		}
		crash()
	}
	if fault("pack:nospace-half") {
		return errors.Join(f.Truncate(fi.Size()/2), errNoSpace)
	}
	return f.Close()
}

// packTree writes a directory as a tar in zstd.
func packTree(w io.Writer, dir string) error {
	z, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest))
	if err != nil {
		return err
	}
	tw := tar.NewWriter(z)
	linked := map[uint64]string{}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return addFile(tw, dir, path, e, linked)
	})
	return errors.Join(err, tw.Close(), z.Close())
}

// addFile adds a file; linked are the names of those before by inode.
func addFile(tw *tar.Writer, dir, path string, e fs.DirEntry, linked map[uint64]string) error {
	fi, err := e.Info()
	if err != nil {
		return err
	}
	var link string
	if fi.Mode()&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(path); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(fi, link)
	if err != nil {
		return err
	}
	if h.Name, err = filepath.Rel(dir, path); err != nil {
		return err
	}
	h.Uname, h.Gname = "", ""
	if st := fi.Sys().(*syscall.Stat_t); fi.Mode().IsRegular() && st.Nlink > 1 {
		if first, ok := linked[st.Ino]; ok {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return tw.WriteHeader(h)
		}
		linked[st.Ino] = h.Name
	}
	if err := readXattrs(path, h); err != nil {
		return err
	}
	if fault("pack:rootowned") {
		h.Uid, h.Gid = 0, 0
	}
	if err := tw.WriteHeader(h); err != nil || !fi.Mode().IsRegular() {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(tw, f)
	return err
}
