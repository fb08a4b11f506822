package container

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bottlebuild/tasks/backend"
)

// TestHierarchies has what hosts mount at /sys/fs/cgroup: what is missing is told,
// and a machine's bounds are such as the runtime can set.
func TestHierarchies(t *testing.T) {
	v1 := []string{"cpu/cgroup.procs", "memory/cgroup.procs", "pids/cgroup.procs"}
	for name, c := range map[string]struct {
		files   []string // a name, or a name, "=" and content
		missing string
		hybrid  bool
		swap    bool
	}{
		"version 2":                 {[]string{"cgroup.controllers=cpuset cpu io memory pids\n", "init.scope/memory.swap.max"}, "", false, true},
		"version 2 without swap":    {[]string{"cgroup.controllers=cpu memory pids\n", "init.scope/memory.max"}, "", false, false},
		"version 2 without memory":  {[]string{"cgroup.controllers=cpu pids\n"}, "memory", false, false},
		"version 1":                 {append(v1, "memory/memory.memsw.limit_in_bytes"), "", false, true},
		"version 1 without swap":    {v1, "", false, false},
		"version 1 without pids":    {v1[:2], "pids", false, false},
		"both":                      {append(v1, "unified/cgroup.controllers=\n"), "", false, false},
		"both, with controllers":    {append(v1, "unified/cgroup.controllers=hugetlb\n"), "", true, false},
		"nothing":                   {nil, "cpu", false, false},
		"version 2, not delegating": {[]string{"cgroup.controllers=\n"}, "cpu", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range c.files {
				file, content, _ := strings.Cut(f, "=")
				path := filepath.Join(dir, file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			h := hierarchy(dir)
			err := h.check()
			if (err == nil) != (c.missing == "") || err != nil && !strings.Contains(err.Error(), "controller "+c.missing+" is not there") {
				t.Errorf("check = %v, want that %q is missing", err, c.missing)
			}
			if h.hybrid() != c.hybrid {
				t.Errorf("hybrid = %v", h.hybrid())
			}
			m := &machine{Spec: backend.Spec{CPUs: 3, MemoryMiB: 512}}
			r := m.resources(h)
			if *r.Memory.Limit != 512<<20 || *r.CPU.Quota != 3*int64(*r.CPU.Period) || *r.Pids.Limit != PIDsLimit {
				t.Errorf("bounds: %+v %+v %+v", r.Memory, r.CPU, r.Pids)
			}
			if (r.Memory.Swap != nil) != c.swap || c.swap && *r.Memory.Swap != *r.Memory.Limit {
				t.Errorf("bound of memory and swap: %v", r.Memory.Swap)
			}
		})
	}
}

// TestRuntimeIsMissing: whoever asks for a runtime that is not there learns where
// it comes from.
func TestRuntimeIsMissing(t *testing.T) {
	needRoot(t)
	for runtime, want := range map[string]string{
		"crun-absent": "put it on PATH", "krun": "crun-krun", "runsc": "gvisor.dev", "kata-runtime": "katacontainers.io",
	} {
		t.Setenv("PATH", t.TempDir())
		_, err := New(Config{Store: newStore(t), StateDir: t.TempDir(), Runtime: runtime, Init: "/proc/self/exe"}).Preflight(t.Context())
		if err == nil || !strings.Contains(err.Error(), runtime+" is not installed") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error that says %q", runtime, err, want)
		}
	}
}
