package tasks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/tasks/backend"
)

// Inspection is all that bottlebuild knows of a machine and may show.
type Inspection struct {
	MachineStatus
	// Spec is its record with what is sensitive taken out; zero if it has none.
	Spec Machine
	// Components are those of the recipe that its spec hash is of.
	Components []cache.Component
	// Console is where its console is on the host; empty if that is not known.
	Console string
}

// Inspect looks at a machine that bottlebuild made.
func (w *Worker) Inspect(ctx context.Context, name string) (Inspection, error) {
	be, rec, err := w.find(ctx, name)
	if err != nil {
		return Inspection{}, err
	}
	in := Inspection{MachineStatus: MachineStatus{Record: rec}}
	if in.Status, err = be.Status(ctx, name); err != nil {
		return in, err
	}
	in.Console, _ = be.Console(ctx, name) // one more thing to look at, no more
	if rec == nil {
		return in, nil
	}
	in.Spec = shown(rec.Machine)
	in.Spec.Volumes = slices.Clone(in.Spec.Volumes)
	for i := range in.Spec.Volumes {
		v := &in.Spec.Volumes[i]
		v.Host = w.Volumes.host(name, *v)
	}
	pack, _ := cache.ParseDigest(in.Labels[backend.PackLabel])
	in.Components = machineRecipe(be, rec.Machine, pack).Components
	return in, nil
}

// shown returns a machine's parameters without what is sensitive in them, and
// without the content of files, which may be long and is in the machine.
func shown(p Machine) Machine {
	plain, sensitive := splitEnv(p)
	p.Env = plain
	for name := range sensitive {
		p.Env[name] = cache.Concealed
	}
	p.Provision = slices.Clone(p.Provision)
	for i := range p.Provision {
		pr := &p.Provision[i]
		component := fmt.Sprintf("provision.%d", i)
		if hides(p.Sensitive, component) {
			pr.Exec = []string{cache.Concealed}
		}
		pr.Env = maps.Clone(pr.Env)
		for name := range pr.Env {
			if hides(p.Sensitive, component+".env."+name) {
				pr.Env[name] = cache.Concealed
			}
		}
	}
	p.Files = slices.Clone(p.Files)
	for i := range p.Files {
		p.Files[i].Content = nil
	}
	return p
}

// hides tells whether a component is one of those that no one is to read, or
// below one.
func hides(sensitive []string, component string) bool {
	return slices.ContainsFunc(sensitive, func(s string) bool {
		return s == component || strings.HasPrefix(component, s+".")
	})
}
