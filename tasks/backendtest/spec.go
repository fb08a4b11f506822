package backendtest

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"bottlebuild/tasks/backend"
)

var specTests = []testCase{
	{"ValidateAccepts", nil, testValidateAccepts},
	{"ValidateRejects", nil, testValidateRejects},
	{"ValidateNetwork", func(h Harness) bool { return !h.NoNetwork }, testValidateNetwork},
	{"CreateRejectsBadNames", nil, testCreateBadNames},
	{"CreateWantsVolumeOnHost", func(h Harness) bool { return h.NoVolumes }, testVolumeMissing},
}

func testValidateAccepts(t *testing.T, f *fixture) {
	for name, spec := range map[string]backend.Spec{
		"defaults":      {Name: "a"},
		"longest name":  {Name: strings.Repeat("a", 63)},
		"digits":        {Name: "0-1"},
		"empty network": {Name: "a", Network: &backend.Network{}},
		"env":           {Name: "a", Env: map[string]string{"A": "b=c\nd", "EMPTY": ""}},
	} {
		if err := f.b.Validate(spec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// badNames are names that reach outside of a directory, look like options, or
// are no host names.
var badNames = []string{"", ".", "..", "a/b", "../a", "-a", "a-", "A", "a_b", "a.b", "a b", "ä", "a\x00b", strings.Repeat("a", 64)}

func testValidateRejects(t *testing.T, f *fixture) {
	specs := map[string]backend.Spec{
		"negative CPUs":         {Name: "a", CPUs: -1},
		"negative memory":       {Name: "a", MemoryMiB: -1},
		"env without name":      {Name: "a", Env: map[string]string{"": "x"}},
		"env with =":            {Name: "a", Env: map[string]string{"A=B": "x"}},
		"env with NUL":          {Name: "a", Env: map[string]string{"A": "x\x00y"}},
		"relative host volume":  {Name: "a", Volumes: []backend.Volume{{Host: "src", Guest: "/src"}}},
		"relative guest volume": {Name: "a", Volumes: []backend.Volume{{Host: "/src", Guest: "src"}}},
		"volume over the root":  {Name: "a", Volumes: []backend.Volume{{Host: "/src", Guest: "/"}}},
		"port 0":                {Name: "a", Ports: []backend.Port{{Host: 0, Guest: 80}}},
		"port of the guest":     {Name: "a", Ports: []backend.Port{{Host: 8080, Guest: 65536}}},
		"one port, two guests'": {Name: "a", Ports: []backend.Port{{Host: 8080, Guest: 80}, {Host: 8080, Guest: 81}}},
		"two volumes, one path": {Name: "a", Volumes: []backend.Volume{{Host: "/a", Guest: "/src"}, {Host: "/b", Guest: "/src"}}},
	}
	for _, n := range badNames {
		specs["name "+n] = backend.Spec{Name: n}
	}
	for name, spec := range specs {
		if err := f.b.Validate(spec); err == nil {
			t.Errorf("%s: Validate = nil", name)
		}
	}
}

func testValidateNetwork(t *testing.T, f *fixture) {
	for name, spec := range map[string]backend.Spec{
		"open":  {Name: "a", Network: &backend.Network{Open: true}},
		"hosts": {Name: "a", Network: &backend.Network{AllowHosts: []string{"example.com"}}},
		"cidrs": {Name: "a", Network: &backend.Network{AllowCIDRs: []string{"10.0.0.0/8"}}},
	} {
		if err := f.b.Validate(spec); !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("%s: %v, want ErrUnsupported", name, err)
		}
		if err := f.b.Create(t.Context(), spec, f.pack); !errors.Is(err, backend.ErrUnsupported) {
			t.Errorf("%s: Create = %v, want ErrUnsupported", name, err)
		}
	}
}

func testCreateBadNames(t *testing.T, f *fixture) {
	for _, n := range badNames {
		if err := f.b.Create(t.Context(), backend.Spec{Name: n}, f.pack); err == nil {
			t.Errorf("Create %q = nil", n)
		}
		// Whether that is an error is the backend's choice; that it does no harm is not.
		_ = f.b.Delete(t.Context(), n)
		if _, err := f.b.Status(t.Context(), n); err == nil {
			t.Errorf("Status %q = nil", n)
		}
	}
	if err := f.b.CheckPack(t.Context(), f.pack); err != nil {
		t.Errorf("CheckPack afterwards: %v", err)
	}
}

func testVolumeMissing(t *testing.T, f *fixture) {
	spec := f.spec(t)
	spec.Volumes = []backend.Volume{{Host: filepath.Join(t.TempDir(), "absent"), Guest: "/src"}}
	err := f.b.Create(t.Context(), spec, f.pack)
	if err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("Create = %v, want an error that names the directory", err)
	}
	if _, err := f.b.Status(t.Context(), spec.Name); !errors.Is(err, backend.ErrNotFound) {
		t.Errorf("Status after failed Create: %v, want ErrNotFound", err)
	}
}
