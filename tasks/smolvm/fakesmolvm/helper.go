//go:build linux

package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startHelper stands in for the virtual machine that packs: a process in a group
// of its own, which outlives a smolvm that is killed, and a directory in
// smolvm's cache.
func startHelper() (stop func(), err error) {
	name := fmt.Sprintf("pack-%d-%d", os.Getpid(), time.Now().UnixNano())
	hash := sha256.Sum256([]byte(name))
	dir := filepath.Join(dataDir(), ".cache", "smolvm", "vms", hex.EncodeToString(hash[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte(name), 0o644); err != nil {
		return nil, err
	}
	cmd := exec.Command("sleep", "infinity")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
		os.RemoveAll(dir)
	}, nil
}
