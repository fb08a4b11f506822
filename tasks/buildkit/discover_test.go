package buildkit

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/worker/label"
)

func TestConnectUnavailable(t *testing.T) {
	dead := "unix://" + filepath.Join(t.TempDir(), "none.sock")
	for name, tc := range map[string]struct {
		cfg  Config
		says string
	}{
		"address":         {Config{Address: dead, BuildkitHost: "x"}, "--builder"},
		"BUILDKIT_HOST":   {Config{BuildkitHost: dead}, "BUILDKIT_HOST"},
		"nothing at all":  {Config{}, "embedded one is not allowed"},
		"unknown scheme":  {Config{Address: "nope://x"}, "nope://x"},
		"TLS file absent": {Config{Address: "tcp://127.0.0.1:1", TLS: TLS{CACert: "/nowhere.pem"}}, "/nowhere.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Connect(t.Context(), tc.cfg)
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error is %v, want %q", err, tc.says)
			}
		})
	}
}

// TestConnectOrder has a live daemon at one address after another.
func TestConnectOrder(t *testing.T) {
	cfg := spawnConfig(t, filepath.Join(t.TempDir(), "state"), time.Hour)
	connect(t, cfg)
	live, dead := cfg.Socket, filepath.Join(t.TempDir(), "dead.sock")
	if err := os.WriteFile(dead, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]Config{
		"--builder":     {Address: "unix://" + live, BuildkitHost: "unix://" + dead},
		"BUILDKIT_HOST": {BuildkitHost: "unix://" + live, Sockets: []string{dead}},
		"socket":        {Sockets: []string{dead, live}, Embedded: &SpawnConfig{}},
		"embedded":      {Sockets: []string{dead}, Embedded: cfg},
	} {
		b, err := Connect(t.Context(), c)
		if err != nil {
			t.Errorf("%s: %v", want, err)
			continue
		}
		if b.Name != want || !b.SameHost {
			t.Errorf("found %s, want %s", b.Name, want)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestExportable(t *testing.T) {
	for name, tc := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"buildkitd":                     {map[string]string{label.Executor: "oci", label.Snapshotter: "overlayfs"}, true},
		"engine with image store":       {map[string]string{label.Snapshotter: "overlayfs"}, true},
		"engine with its graph drivers": {map[string]string{"org.mobyproject.buildkit.worker.moby.host-gateway-ip": "172.17.0.1"}, false},
	} {
		if err := exportable(&client.WorkerInfo{Labels: tc.labels}); (err == nil) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBuildxBuilders(t *testing.T) {
	bin := t.TempDir()
	if err := os.WriteFile(filepath.Join(bin, "docker"), []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	dir := writeFiles(t, map[string]string{
		"buildx/current":           `{"Key":"unix:///var/run/docker.sock","Name":"mine","Global":false}`,
		"buildx/instances/a":       `{"Name":"a","Driver":"docker-container","Nodes":[{"Name":"a0"}]}`,
		"buildx/instances/mine":    `{"Name":"mine","Driver":"docker-container","Nodes":[{"Name":"mine0"},{"Name":"mine1"}]}`,
		"buildx/instances/kube":    `{"Name":"kube","Driver":"kubernetes","Nodes":[{"Name":"k0"}]}`,
		"buildx/instances/broken":  `{`,
		"buildx/instances/nodes":   `{"Name":"nodes","Driver":"docker-container"}`,
		"buildx/instances/dir/sub": ``,
	})
	var got []string
	for _, b := range buildxBuilders(dir) {
		got = append(got, b.Name+" "+b.Address)
	}
	want := []string{"buildx mine docker-container://buildx_buildkit_mine0", "buildx a docker-container://buildx_buildkit_a0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// None of them runs, so the next in order is asked for.
	if _, err := Connect(t.Context(), Config{DockerConfig: dir}); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "buildx_buildkit_mine0") {
		t.Errorf("error is %v", err)
	}
	t.Setenv("PATH", t.TempDir())
	if found := buildxBuilders(dir); found != nil {
		t.Errorf("without docker: %v", found)
	}
}

func TestVersion(t *testing.T) {
	got := versionsIn(&debug.BuildInfo{Deps: []*debug.Module{
		{Path: "example.com/other", Version: "v1.0.0"},
		{Path: buildkitModule, Version: "v0.34.2"},
	}})
	if got.buildkit != "v0.34.2" || !strings.HasPrefix(got.dockerfile, "1.") || strings.Contains(got.dockerfile, "-") {
		t.Errorf("versions are %+v", got)
	}
	got = versionsIn(&debug.BuildInfo{Deps: []*debug.Module{
		{Path: buildkitModule, Version: "v0.34.2", Replace: &debug.Module{Path: "example.com/fork", Version: "v9"}},
	}})
	if got.buildkit != "v9" {
		t.Errorf("version of a replaced module is %s", got.buildkit)
	}
}
