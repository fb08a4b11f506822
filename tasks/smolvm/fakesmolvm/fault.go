//go:build linux

package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The faults of FAKE_SMOLVM_FAULT. Those that end in -once happen one time per
// data directory.
//
//	help:other            "pack create" is unknown, as in the other project
//	pack:fail             an error
//	pack:nokvm            no /dev/kvm
//	pack:nospace          the disk is full
//	pack:slowboot[-once]  the virtual machine is too slow
//	pack:hang             never ends, nor does a child
//	pack:crash            killed with half a sidecar written
//	pack:truncate         half a sidecar and success
//	pack:badcrc           a byte of the assets is changed
//	pack:wrongdigest      the manifest is of another image
//	pack:wrongplatform    the manifest is for another platform
//	pack:network          the manifest opens the network
//	pack:nothing          success and no sidecar
//	start:fail[-once]     the machine fails to start
//	delete:notempty[-once]  the directory is not empty
//	create:fail           an error after the machine was made
//	state:NAME            status and ls tell this state
func fault(name string) bool {
	faults := strings.Split(os.Getenv("FAKE_SMOLVM_FAULT"), ",")
	if slices.Contains(faults, name) {
		return true
	}
	if !slices.Contains(faults, name+"-once") {
		return false
	}
	dir := filepath.Join(dataDir(), "faults")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false
	}
	f, err := os.OpenFile(filepath.Join(dir, strings.ReplaceAll(name, ":", "-")), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false
	}
	return f.Close() == nil
}

// faultyState returns the state that a fault asks for.
func faultyState() (string, bool) {
	for f := range strings.SplitSeq(os.Getenv("FAKE_SMOLVM_FAULT"), ",") {
		if s, ok := strings.CutPrefix(f, "state:"); ok {
			return s, true
		}
	}
	return "", false
}

// hang starts a child that outlives everything but its process group, tells its
// id in the directory of the output, and waits for ever.
func hang(dir string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, &os.ProcAttr{Files: []*os.File{null, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	pid := []byte(itoa(p.Pid))
	if err := os.WriteFile(filepath.Join(dataDir(), "hanging.tmp"), pid, 0o600); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dataDir(), "hanging.tmp"), filepath.Join(dataDir(), "hanging")); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}

func crash() { syscall.Kill(os.Getpid(), syscall.SIGKILL) }
