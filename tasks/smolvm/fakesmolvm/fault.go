//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
)

// The faults of FAKE_SMOLVM_FAULT. Those that end in -once happen one time per
// data directory. STEP is version, help, pack, create, start, stop, delete, ls,
// status, data-dir, update, exec or cp.
//
//	STEP:fail        an error, and nothing done
//	STEP:fail-late   an error, after it was done
//	STEP:nospace     the disk is full
//	STEP:crash       killed
//	STEP:crash-late  killed after it was done
//	STEP:hang        never ends
//	STEP:lie         success, and nothing done
//	STEP:garbage     success, and an answer that is none
//
//	help:other          "pack create" is unknown, as in the other project
//	pack:nokvm          no /dev/kvm
//	pack:slowboot       the virtual machine is too slow
//	pack:hang-late      never ends, nor do a child and the helper
//	pack:crash-half     killed with half a sidecar written
//	pack:nospace-half   the disk is full with half a sidecar written
//	pack:truncate       half a sidecar and success
//	pack:badcrc         a byte of the assets is changed
//	pack:wrongdigest    the manifest is of another image
//	pack:wrongplatform  the manifest is for another platform
//	pack:network        the manifest opens the network
//	pack:nothing        success and no sidecar
//	pack:rootowned      every file is root's
//	create:otherpack    the machine has the files of another's pack
//	start:broken        the machine fails to start, and is then failed
//	start:leak          the machine has the host's network
//	exec:lostenv        what -e says is dropped
//	exec:otheruser      what --user says is dropped
//	exec:otherdir       what -w says is dropped
//	delete:notempty     the directory is not empty
//	state:NAME          status and ls tell this state
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

var errNoSpace = errors.New("storage operation failed: write: No space left on device (os error 28)")

// faulty does a step, or what a fault makes of it.
func faulty(step string, do func() error) error {
	switch {
	case fault(step + ":fail"):
		return fmt.Errorf("agent operation failed: %s: something went wrong", step)
	case fault(step + ":nospace"):
		return errNoSpace
	case fault(step + ":crash"):
		crash()
	case fault(step + ":hang"):
		return hang()
	case fault(step + ":lie"):
		return nil
	case fault(step + ":garbage"):
		fmt.Println("\x1b[1m<html>not what was asked for</html>")
		return nil
	}
	err := do()
	switch {
	case err != nil:
		return err
	case fault(step + ":crash-late"):
		crash()
	case fault(step + ":fail-late"):
		return fmt.Errorf("agent operation failed: %s: something went wrong", step)
	}
	return nil
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

// hang tells its id in the data directory, and waits for ever.
func hang() error {
	if err := tellHanging(os.Getpid()); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}

func tellHanging(pid int) error {
	if err := os.MkdirAll(dataDir(), 0o700); err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(dataDir(), "hanging"), []byte(itoa(pid)), 0o600)
}

// hangWithChild is hang with a child that outlives everything but its process
// group, and whose id is told.
func hangWithChild() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "trap '' TERM; while :; do sleep 1; done"}, &os.ProcAttr{Files: []*os.File{null, os.Stdout, os.Stderr}})
	if err != nil {
		return err
	}
	if err := tellHanging(p.Pid); err != nil {
		return err
	}
	for {
		time.Sleep(time.Hour)
	}
}

func crash() { syscall.Kill(os.Getpid(), syscall.SIGKILL) }
