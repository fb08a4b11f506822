package bottlefile

import "slices"

// missingValue is the summary of the fault that a variable has no value.
const missingValue = "No value for variable"

// Declaration is a group, image or bottle as the file declares it: a target, and
// with for_each several.
type Declaration struct {
	Address   string   `json:"address"`
	Kind      string   `json:"kind"`                // group, image, bottle
	Instances []string `json:"instances,omitempty"` // addresses, if there is a for_each
	Stages    []string `json:"stages,omitempty"`    // of a bottle: export, push, pack, machine
	Members   []string `json:"members,omitempty"`   // of a group
	Default   bool     `json:"default,omitempty"`   // the group that runs if no target is named
	Pos       string   `json:"pos"`
}

// Declarations returns the groups, images and bottles, each kind in the order of the
// file. A file with errors has those that were found; instances that could not
// be are left out.
func (f *File) Declarations() []Declaration {
	targets := []Declaration{}
	for _, g := range f.groups {
		t := Declaration{Address: groupSchema.Name + "." + g.label(), Kind: groupSchema.Name, Default: g.label() == "default", Pos: place(g.defRange)}
		for _, m := range g.targets {
			t.Members = append(t.Members, m.text)
		}
		targets = append(targets, t)
	}
	for _, kind := range []*BlockSchema{imageSchema, bottleSchema} {
		for _, d := range f.decls {
			if d.kind == kind.Name {
				targets = append(targets, f.target(d))
			}
		}
	}
	return targets
}

func (f *File) target(d *decl) Declaration {
	t := Declaration{Address: d.address(), Kind: d.kind, Pos: place(d.defRange)}
	if d.forEach != nil && f.eval != nil {
		for _, i := range f.eval.instances[d] {
			t.Instances = append(t.Instances, i.address)
		}
	}
	for _, s := range bottleSchema.Blocks {
		implied := s == packSchema && d.one(machineSchema.Name) != nil
		if d.kind == bottleSchema.Name && (d.one(s.Name) != nil || implied) {
			t.Stages = append(t.Stages, s.Name)
		}
	}
	return t
}

// WithoutMissingValues returns diags without the faults that variables have no
// value: those do not matter to whoever wants to know which variables there are.
func WithoutMissingValues(diags Diagnostics) Diagnostics {
	return slices.DeleteFunc(slices.Clone(diags), func(d *Diagnostic) bool { return d.Summary == missingValue })
}
