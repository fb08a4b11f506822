//go:build linux

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// machine is what is kept of one, in DATA/vms/NAME/vm.json.
type machine struct {
	Name       string            `json:"name"`
	Image      string            `json:"image"`
	Labels     map[string]string `json:"labels"`
	CPUs       int               `json:"cpus"`
	Mem        int               `json:"mem"`
	StorageGB  int               `json:"storage_gb"`
	Env        []string          `json:"env"` // of the workload
	ImageEnv   []string          `json:"image_env"`
	Workdir    string            `json:"workdir"`
	Entrypoint []string          `json:"entrypoint"`
	Cmd        []string          `json:"cmd"`
	Ports      [][2]int          `json:"ports"`
	Volumes    []volume          `json:"volumes"`
	Network    bool              `json:"network"`
	AllowCIDRs []string          `json:"allow_cidrs"`
	AllowHosts []string          `json:"allow_hosts"`
	From       string            `json:"from"`
	CreatedAt  int64             `json:"created_at"`

	Started   bool   `json:"started"` // at least once
	Failed    bool   `json:"failed"`  // the last start
	PID       int    `json:"pid"`
	StartTime string `json:"start_time"` // of PID, which tells it from a later process
}

type volume struct {
	Host     string `json:"host"`
	Guest    string `json:"guest"`
	ReadOnly bool   `json:"read_only"`
}

func itoa(n int) string { return strconv.Itoa(n) }

func dataDir() string {
	if d := os.Getenv("SMOLVM_DATA_DIR"); d != "" {
		return d
	}
	return filepath.Join(os.Getenv("HOME"), ".local", "share", "smolvm")
}

func machineDir(name string) string { return filepath.Join(dataDir(), "vms", name) }

// alphanumeric are the bytes that names and image references begin with.
const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

func checkName(name string) error {
	rest := strings.Trim(name, alphanumeric+"_-")
	if name == "" || len(name) > 128 || rest != "" || strings.ContainsAny(name[:1], "_-") || strings.Contains(name, "--") || strings.HasSuffix(name, "-") {
		return fmt.Errorf("config operation failed: validate name: invalid machine name '%s'", name)
	}
	return nil
}

func errNotFound(name string) error { return fmt.Errorf("vm not found: %s", name) }

// lock serialises calls for one machine.
func lock(name string) (unlock func(), err error) {
	dir := filepath.Join(dataDir(), "locks")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l := flock.New(filepath.Join(dir, name))
	if err := l.Lock(); err != nil {
		return nil, err
	}
	return func() { l.Close() }, nil
}

func load(name string) (*machine, error) {
	if name == "" {
		name = "default"
	}
	if err := checkName(name); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(machineDir(name), "vm.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotFound(name)
	}
	if err != nil {
		return nil, err
	}
	m := &machine{}
	return m, json.Unmarshal(b, m)
}

func (m *machine) save() error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(machineDir(m.Name), "vm.json"), b, 0o600)
}

func all() ([]*machine, error) {
	entries, err := os.ReadDir(filepath.Join(dataDir(), "vms"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list := []*machine{}
	for _, e := range entries {
		m, err := load(e.Name())
		if err == nil { // else it is being made or deleted
			list = append(list, m)
		}
	}
	return list, nil
}

// alive reports whether the agent's process still is the one that was started.
func (m *machine) alive() bool {
	t, ok := startTime(m.PID)
	return m.PID > 0 && ok && t == m.StartTime
}

// startTime returns field 22 of /proc/PID/stat; not of a zombie.
func startTime(pid int) (string, bool) {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/stat")
	if err != nil {
		return "", false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return "", false
	}
	return f[19], true
}

func (m *machine) state() string {
	if s, ok := faultyState(); ok {
		return s
	}
	switch {
	case m.alive():
		conn, err := dialAgent(m.Name)
		if err != nil {
			return "unreachable"
		}
		conn.Close()
		return "running"
	case m.Failed:
		return "failed"
	case m.Started:
		return "stopped"
	}
	return "created"
}

// json is the object of ls and status: counts for mounts and ports, and neither
// env nor the sidecar's path.
func (m *machine) json() map[string]any {
	var pid any
	if m.alive() {
		pid = m.PID
	}
	var created any = m.CreatedAt
	if atLeast("1.17.0") { // the schema is open: other types have to be taken too
		created = time.Unix(m.CreatedAt, 0).UTC().Format(time.RFC3339)
	}
	return map[string]any{
		"name": m.Name, "state": m.state(), "cpus": m.CPUs, "memory_mib": m.Mem, "pid": pid,
		"mounts": len(m.Volumes), "ports": len(m.Ports), "created_at": created,
		"storage_gb": m.StorageGB, "overlay_gb": nil, "image": m.Image, "entrypoint": m.Entrypoint, "cmd": m.Cmd,
		"ephemeral": false, "gpu": false, "labels": m.Labels, "restart_policy": "never", "restart_count": 0,
		"network": m.Network, "added_by_a_later_version": map[string]any{"x": []int{1}},
	}
}
