package bottlefile

import (
	"bottlebuild/graph"
	"bottlebuild/tasks"
)

// Machine is a machine that a bottle file declares.
type Machine struct {
	Name string
	Node *graph.Node // binds to [tasks.Machine]
}

// Machines returns the machines that the file declares, whatever is targeted, in
// the order of the file.
func (f *File) Machines() []Machine {
	var machines []Machine
	for _, u := range f.units {
		if u.node.Kind == tasks.KindMachine {
			machines = append(machines, Machine{Name: u.inst.machine.name, Node: u.node})
		}
	}
	return machines
}
