package tasks

import (
	"context"
	"testing"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// able is a backend that can do everything.
type able struct{ backend.Backend }

func (able) Name() string                { return "able" }
func (able) Validate(backend.Spec) error { return nil }

func (able) Status(context.Context, string) (backend.Status, error) {
	return backend.Status{}, backend.ErrNotFound
}

// TestMachineKey has each attribute enter the key exactly where a change of it
// needs another machine.
func TestMachineKey(t *testing.T) {
	key := func(change func(*Machine)) cache.Key {
		p := Machine{
			Pack: "p", Name: "m", Restart: RestartNever, Replace: ReplaceIfStopped, OnError: OnErrorCleanup, SelfTest: true,
			Files: []File{{Path: "/f", Content: []byte("x")}}, Provision: []Provision{{Exec: []string{"true"}}},
			Secrets: map[string]SecretRef{"A": {Name: "a", Env: "A"}},
		}
		change(&p)
		return machineRecipe(able{}, p, cache.Digest{}).Key()
	}
	same := key(func(*Machine) {})
	for name, c := range map[string]struct {
		change func(*Machine)
		enters bool
	}{
		"name":                        {func(p *Machine) { p.Name = "n" }, true},
		"cpus":                        {func(p *Machine) { p.CPUs = 2 }, true},
		"memory":                      {func(p *Machine) { p.MemoryMiB = 2 }, true},
		"storage":                     {func(p *Machine) { p.StorageGiB = 2 }, true},
		"env":                         {func(p *Machine) { p.Env = map[string]string{"A": "B"} }, true},
		"user":                        {func(p *Machine) { p.User = "u" }, true},
		"workdir":                     {func(p *Machine) { p.Workdir = "/w" }, true},
		"network, open":               {func(p *Machine) { p.Network = &Network{Open: true} }, true},
		"network, hosts":              {func(p *Machine) { p.Network = &Network{AllowHosts: []string{"h"}} }, true},
		"network, networks":           {func(p *Machine) { p.Network = &Network{AllowCIDRs: []string{"h"}} }, true},
		"file, content":               {func(p *Machine) { p.Files[0].Content = []byte("y") }, true},
		"file, mode":                  {func(p *Machine) { p.Files[0].Mode = 0o600 }, true},
		"file, owner":                 {func(p *Machine) { p.Files[0].Owner = "o" }, true},
		"port":                        {func(p *Machine) { p.Ports = []Port{{Host: 1, Guest: 2}} }, true},
		"volume":                      {func(p *Machine) { p.Volumes = []Volume{{Host: "/h", Guest: "/g"}} }, true},
		"restart":                     {func(p *Machine) { p.Restart = RestartAlways }, true},
		"provision, exec":             {func(p *Machine) { p.Provision[0].Exec = []string{"false"} }, true},
		"provision, user":             {func(p *Machine) { p.Provision[0].User = "u" }, true},
		"provision, env":              {func(p *Machine) { p.Provision[0].Env = map[string]string{"A": "B"} }, true},
		"provision, continue":         {func(p *Machine) { p.Provision[0].ContinueOnError = true }, true},
		"provision, another":          {func(p *Machine) { p.Provision = append(p.Provision, p.Provision[0]) }, true},
		"provision, timeout, retries": {func(p *Machine) { p.Provision[0].Timeout, p.Provision[0].Retries = 1, 2 }, false},
		"secret, name":                {func(p *Machine) { p.Secrets["A"] = SecretRef{Name: "b", Env: "A"} }, true},
		"secret, version":             {func(p *Machine) { p.Secrets["A"] = SecretRef{Name: "a", Env: "A", Version: "2"} }, true},
		"secret, variable":            {func(p *Machine) { p.Secrets["B"] = p.Secrets["A"]; delete(p.Secrets, "A") }, true},
		"secret, source":              {func(p *Machine) { p.Secrets["A"] = SecretRef{Name: "a", File: "/f"} }, false},
		"replace":                     {func(p *Machine) { p.Replace = ReplaceAlways }, false},
		"on_error":                    {func(p *Machine) { p.OnError = OnErrorKeep }, false},
		"self_test":                   {func(p *Machine) { p.SelfTest = false }, false},
		"ready":                       {func(p *Machine) { p.Ready = &Ready{TCP: 80, Timeout: time.Second} }, false},
		"check":                       {func(p *Machine) { p.Checks = []Check{{Name: "c", Exec: []string{"true"}}} }, false},
	} {
		if other := key(c.change); (other != same) != c.enters {
			t.Errorf("%s: enters the key: %t, want %t", name, other != same, c.enters)
		}
	}
}
