package smolvm

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"bottlebuild/tasks/backend"
)

// script makes a program of that text, called smolvm, and returns its directory.
func script(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "smolvm"), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestPreflight(t *testing.T) {
	const help = `[ "$*" = "pack create --help" ] && { echo "  -I, --image <REF>"; exit 0; }
`
	for name, tc := range map[string]struct {
		script string // empty: there is none
		kvm    string // empty: a device that works
		want   string // in the error; empty: none
	}{
		"missing":       {"", "", "not installed"},
		"too old":       {help + "echo smolvm 1.8.0", "", "version 1.8.0, but 1.8.1 or later is needed"},
		"much too old":  {help + "echo smolvm 0.99.99", "", "version 0.99.99, but 1.8.1"},
		"oldest":        {help + "echo smolvm 1.8.1", "", ""},
		"newer major":   {help + "echo smolvm 2.0.0-rc.1", "", ""},
		"no version":    {help + "echo Usage: smolvm run", "", "not the smolvm that is meant"},
		"fails":         {"echo boom >&2; exit 3", "", "boom"},
		"other project": {`[ "$1" = pack ] && { echo "no such command" >&2; exit 2; }; echo smolvm 3.1.0`, "", "another program of the same name"},
		"odd help":      {`[ "$1" = pack ] && { echo "pack a box"; exit 0; }; echo smolvm 3.1.0`, "", "another program of the same name"},
		"no kvm":        {help + "echo smolvm 1.9.3", "/nonexistent/kvm", "turn on virtualisation"},
		"kvm a dir":     {help + "echo smolvm 1.9.3", "/", "cannot be used"},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/nonexistent:relative"
			if tc.script != "" {
				path += ":" + script(t, tc.script)
			}
			if tc.kvm == "" {
				tc.kvm = device(t)
			}
			b := New(Config{Store: openStore(t), StateDir: t.TempDir(), Env: []string{"PATH=" + path}, KVM: tc.kvm})
			_, err := b.Preflight(t.Context())
			if tc.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error = %v, want ErrUnavailable with %q", err, tc.want)
			}
			if _, err := b.Pack(t.Context(), backend.PackRequest{}); !errors.Is(err, backend.ErrUnavailable) {
				t.Errorf("Pack = %v, want ErrUnavailable", err)
			}
			if list, err := b.List(t.Context()); strings.Contains(name, "kvm") == false && (err != nil || len(list) != 0) {
				t.Errorf("List = %v, %v; want none where smolvm was never used", list, err)
			}
		})
	}
}

// TestPreflightAsksOnce also has a first question that is cancelled, which must
// not be taken for the answer.
func TestPreflightAsksOnce(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	dir := script(t, `echo x >>`+calls+`
[ "$1" = pack ] && { echo " --image"; exit 0; }; echo smolvm 1.9.3`)
	b := New(Config{Store: openStore(t), StateDir: t.TempDir(), Env: []string{"PATH=" + dir}, KVM: device(t)})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Preflight(cancelled); !errors.Is(err, context.Canceled) || errors.Is(err, backend.ErrUnavailable) {
		t.Errorf("cancelled: %v", err)
	}
	os.Remove(calls)
	for range 3 {
		if info, err := b.Preflight(t.Context()); err != nil || info.Version != "1.9.3" {
			t.Fatalf("Preflight = %+v, %v", info, err)
		}
	}
	if got, err := os.ReadFile(calls); err != nil || string(got) != "x\nx\n" {
		t.Errorf("smolvm was called so: %q, %v; want two calls", got, err)
	}
}

func TestPreflightOfTheFake(t *testing.T) {
	r := newRig(t, settings{fault: "help:other"})
	if _, err := r.Preflight(t.Context()); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "another program") {
		t.Errorf("other project: %v", err)
	}
	r = newRig(t, settings{version: "1.8.0"})
	if _, err := r.Preflight(t.Context()); !errors.Is(err, backend.ErrUnavailable) || !strings.Contains(err.Error(), "1.8.1") {
		t.Errorf("old: %v", err)
	}
}

func TestParseVersion(t *testing.T) {
	for s, want := range map[string]string{
		"smolvm 1.8.1\n": "1.8.1", "smolvm v1.9.3": "1.9.3", "smolvm 1.13.0-beta.1 (abc)": "1.13.0",
		"smolvm 1.8": "", "smol 1.8.1": "", "1.8.1": "", "": "", "smolvm 1.8.1.2": "", "smolvm 99999999999.0.0": "",
	} {
		v, ok := parseVersion(s)
		if got := v.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %s, %t", s, got, ok)
		}
	}
	if !(version{1, 9, 3}).before(version{1, 13, 0}) || (version{1, 17, 0}).before(version{1, 17, 0}) || (version{2, 0, 0}).before(version{1, 99, 99}) {
		t.Error("versions are not ordered")
	}
}

func TestParseFlags(t *testing.T) {
	got := parseFlags("Usage: x [--name <N>]\n  -e, --env <K=V>   as --secret-env\n      --user=<U>\n not-a--flag")
	for f, want := range map[string]bool{"--name": true, "--env": true, "--secret-env": true, "--user": true, "--flag": false, "--na": false} {
		if got[f] != want {
			t.Errorf("%s: %t", f, got[f])
		}
	}
}
