//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func machineCreate(p *parsed) error {
	name := p.get("name")
	if err := checkName(name); err != nil {
		return err
	}
	if !p.has("from") {
		return errors.New("config operation failed: create: this fake makes machines --from packs only")
	}
	if p.has("smolfile") {
		return usageError("the argument '--from <PATH>' cannot be used with '--smolfile <PATH>'")
	}
	m := &machine{Name: name, Labels: map[string]string{}, From: p.get("from"), CreatedAt: time.Now().Unix()}
	if err := m.readFlags(p); err != nil {
		return err
	}
	unlock, err := lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	dir := machineDir(name)
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("agent conflict: create: machine '%s' already exists", name)
	}
	err = m.fill(p)
	if err == nil {
		err = m.save()
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(dir))
	}
	fmt.Printf("Created machine: %s\n", name)
	return nil
}

// readFlags takes what does not come from the pack. --secret-env, --secret-file,
// -w and --gpu are not looked at: with --from they are ignored in silence.
func (m *machine) readFlags(p *parsed) error {
	for _, kv := range p.values["label"] {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return fmt.Errorf("config operation failed: --label: expected KEY=VALUE, got '%s'", kv)
		}
		m.Labels[k] = v
	}
	for _, kv := range p.values["env"] {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			return fmt.Errorf("config operation failed: --env: expected KEY=VALUE, got '%s'", kv)
		}
		m.Env = append(m.Env, kv)
	}
	for _, s := range p.values["port"] {
		h, g, ok := strings.Cut(s, ":")
		hn, herr := strconv.ParseUint(h, 10, 16)
		gn, gerr := strconv.ParseUint(g, 10, 16)
		if !ok || herr != nil || gerr != nil || hn == 0 || gn == 0 {
			return usageError(fmt.Sprintf("invalid value '%s' for '--port <HOST:GUEST>'", s))
		}
		m.Ports = append(m.Ports, [2]int{int(hn), int(gn)})
	}
	for _, s := range p.values["volume"] {
		f := strings.Split(s, ":")
		if len(f) < 2 || len(f) > 3 || len(f) == 3 && f[2] != "ro" || !filepath.IsAbs(f[0]) || !filepath.IsAbs(f[1]) {
			return fmt.Errorf("config operation failed: --volume: invalid mount '%s'", s)
		}
		if fi, err := os.Stat(f[0]); err != nil || !fi.IsDir() {
			return fmt.Errorf("config operation failed: --volume: directory not found: %s", f[0])
		}
		m.Volumes = append(m.Volumes, volume{f[0], f[1], len(f) == 3})
	}
	for _, c := range p.values["allow-cidr"] {
		if _, err := netip.ParsePrefix(c); err != nil {
			if _, err := netip.ParseAddr(c); err != nil {
				return usageError(fmt.Sprintf("invalid value '%s' for '--allow-cidr <CIDR>'", c))
			}
		}
	}
	m.AllowCIDRs, m.AllowHosts = p.values["allow-cidr"], p.values["allow-host"]
	m.Network = p.has("net") || len(m.AllowCIDRs) > 0 || len(m.AllowHosts) > 0
	return nil
}

// fill takes what the pack says, and the numbers, of which the default ones mean
// the pack's.
func (m *machine) fill(p *parsed) error {
	f, err := os.Open(m.From)
	if err != nil {
		return fmt.Errorf("config operation failed: --from: %w", err)
	}
	defer f.Close()
	pack, err := unpackSidecar(f, filepath.Join(machineDir(m.Name), "rootfs"))
	if err != nil {
		return fmt.Errorf("config operation failed: --from: %w", err)
	}
	if fault("create:otherpack") {
		if err := m.takeOthers(); err != nil {
			return err
		}
	}
	m.Image, m.ImageEnv, m.Workdir, m.Entrypoint, m.Cmd = pack.Image, pack.Env, pack.Workdir, pack.Entrypoint, pack.Cmd
	m.Network = m.Network || pack.Network
	if m.CPUs, err = p.number("cpus", packCPUs); err != nil {
		return err
	}
	if m.CPUs == packCPUs {
		m.CPUs = pack.CPUs
	}
	if m.Mem, err = p.number("mem", packMem); err != nil {
		return err
	}
	if m.Mem == packMem {
		m.Mem = pack.Mem
	}
	m.StorageGB, err = p.number("storage", 0)
	return err
}

// takeOthers gives the machine the files of another one's pack.
func (m *machine) takeOthers() error {
	others, err := all()
	if err != nil || len(others) == 0 {
		return errors.Join(err, errors.New("there is no other machine"))
	}
	f, err := os.Open(others[0].From)
	if err != nil {
		return err
	}
	defer f.Close()
	rootfs := filepath.Join(machineDir(m.Name), "rootfs")
	if err := os.RemoveAll(rootfs); err != nil {
		return err
	}
	_, err = unpackSidecar(f, rootfs)
	return err
}

// with runs f on a machine under its lock.
func with(p *parsed, f func(*machine) error) error {
	m, err := load(p.get("name"))
	if err != nil {
		return err
	}
	unlock, err := lock(m.Name)
	if err != nil {
		return err
	}
	defer unlock()
	if m, err = load(m.Name); err != nil {
		return err
	}
	return f(m)
}

func machineStart(p *parsed) error {
	return with(p, func(m *machine) error {
		if m.alive() {
			fmt.Printf("Machine '%s' already running\n", m.Name)
			return nil
		}
		if _, err := os.Stat(m.From); err != nil {
			return fmt.Errorf("agent operation failed: start machine: pack is gone: %w", err)
		}
		if err := m.portsFree(); err != nil {
			return err
		}
		err := errors.New("the virtual machine exited")
		if !fault("start:broken") {
			err = m.boot()
		}
		m.Started, m.Failed = true, err != nil
		if serr := m.save(); serr != nil {
			return serr
		}
		if err != nil {
			return fmt.Errorf("agent operation failed: start machine: %w", err)
		}
		fmt.Printf("Machine '%s' running (PID: %d)\n", m.Name, m.PID)
		return nil
	})
}

const stopPatience = 10 * time.Second

func machineStop(p *parsed) error {
	return with(p, func(m *machine) error {
		if !m.alive() {
			fmt.Printf("Machine '%s' is not running\n", m.Name)
			return nil
		}
		return m.halt()
	})
}

// halt asks the agent to end, then ends it.
func (m *machine) halt() error {
	syscall.Kill(m.PID, syscall.SIGTERM)
	for deadline := time.Now().Add(stopPatience); m.alive(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			syscall.Kill(m.PID, syscall.SIGKILL)
		}
	}
	m.PID, m.StartTime = 0, ""
	return m.save()
}

func machineDelete(p *parsed) error {
	return with(p, func(m *machine) error {
		if !p.has("force") {
			fmt.Fprintf(os.Stderr, "Delete machine '%s'? [y/N] ", m.Name)
			fmt.Println("Cancelled")
			return nil
		}
		if m.alive() {
			if err := m.halt(); err != nil {
				return err
			}
		}
		if fault("delete:notempty") {
			return fmt.Errorf("storage operation failed: remove %s: Directory not empty (os error 39)", machineDir(m.Name))
		}
		if err := os.RemoveAll(machineDir(m.Name)); err != nil {
			return err
		}
		fmt.Printf("Deleted machine: %s\n", m.Name)
		return nil
	})
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func machineList(p *parsed) error {
	list, err := all()
	if err != nil {
		return err
	}
	objects := []map[string]any{}
	for _, m := range list {
		objects = append(objects, m.json())
	}
	if p.has("json") {
		return printJSON(objects)
	}
	for _, o := range objects {
		fmt.Println(o["name"], o["state"])
	}
	return nil
}

func machineStatus(p *parsed) error {
	m, err := load(p.get("name"))
	if err != nil {
		return err
	}
	if p.has("json") {
		return printJSON(m.json())
	}
	fmt.Printf("Machine '%s': %s\n", m.Name, m.state())
	return nil
}

func machineDataDir(p *parsed) error {
	m, err := load(p.get("name"))
	if err != nil {
		return err
	}
	fmt.Println(machineDir(m.Name))
	return nil
}

func machineUpdate(p *parsed) error {
	return with(p, func(m *machine) error {
		if m.alive() {
			return errors.New("invalid state: expected stopped, got Running")
		}
		var err error
		if m.CPUs, err = p.number("cpus", m.CPUs); err != nil {
			return err
		}
		if m.Mem, err = p.number("mem", m.Mem); err != nil {
			return err
		}
		return m.save()
	})
}
