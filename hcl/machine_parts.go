package bottlefile

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var (
	networkSchema = &BlockSchema{
		Name: "network", Doc: "What the machine may reach; absent or empty: nothing.",
		Attrs: []*AttrSchema{
			{Name: "open", Type: cty.Bool, Default: "false", InKey: true, Doc: "Everything."},
			{Name: "allow_hosts", Type: cty.List(cty.String), InKey: true, Doc: "Host names; an empty list allows none."},
			{Name: "allow_cidrs", Type: cty.List(cty.String), TypeName: "list of networks", InKey: true, Doc: "Networks: \"10.0.0.0/8\"."},
		},
	}
	portSchema = &BlockSchema{
		Name: "port", Many: true, Doc: "A TCP port of the machine, published on the host's loopback.",
		Attrs: []*AttrSchema{
			{Name: "host", Type: cty.Number, Required: true, InKey: true, Early: true, Doc: "Port on the host."},
			{Name: "guest", Type: cty.Number, Required: true, InKey: true, Doc: "Port in the machine."},
		},
	}
	volumeSchema = &BlockSchema{
		Name: "volume", Many: true, Doc: "A directory that outlives the machine: one of the host, or one that is kept for the machine under a name.",
		Attrs: []*AttrSchema{
			{Name: "host", Type: cty.String, TypeName: "path", InKey: true, Doc: "Directory on the host, relative to the bottle file; either this or name."},
			{Name: "name", Type: cty.String, InKey: true, Doc: "Name of a directory that bottlebuild makes, empty and root's, for the machine of this name alone, and keeps when the machine is replaced or removed: until bottlebuild down --volumes."},
			{Name: "guest", Type: cty.String, TypeName: "path in the machine", Required: true, InKey: true, Doc: "Where it is in the machine."},
			{Name: "readonly", Type: cty.Bool, Default: "false", InKey: true, Doc: "Keeps the machine from writing to it."},
		},
	}
)

const maxPort = 65535

func (d *decoder) network() *tasks.Network {
	n := &tasks.Network{}
	open, v := d.boolean("open", false)
	n.Open = open
	for _, h := range d.list("allow_hosts") {
		d.checkHost(h)
		n.AllowHosts = append(n.AllowHosts, h.AsString())
	}
	for _, c := range d.list("allow_cidrs") {
		d.checkCIDR(c)
		n.AllowCIDRs = append(n.AllowCIDRs, c.AsString())
	}
	switch listed := !d.unset("allow_hosts") || !d.unset("allow_cidrs"); {
	case open && listed:
		d.fault(v, "Contradictory attributes", "open allows everything, so a list of what is allowed has no meaning beside it. Remove one of the two.")
	case listed && !open && !d.res.late && len(n.AllowHosts)+len(n.AllowCIDRs) == 0 && !d.res.diags.HasErrors():
		d.report(warningAt(d.b.defRange, "Empty allow-list", "Nothing is allowed here, so the machine has no network at all. Remove the block if that is meant, or write open = true for everything."))
	}
	return n
}

// unique reports a second thing of one name in a machine.
func (d *decoder) unique(seen map[string]hcl.Range, name string, at hcl.Range, what, done string) {
	if name == "" {
		return
	}
	if first, ok := seen[name]; ok {
		d.report(errorAt(at, "Duplicate "+what, "%s %s at %s already. Remove one of the two.", name, done, place(first)))
		return
	}
	seen[name] = at
}

func (d *decoder) ports(p *tasks.Machine) {
	for _, b := range d.b.blocks[portSchema.Name] {
		n := d.in(b)
		host, hostOK := n.integer("host", maxPort)
		guest, guestOK := n.integer("guest", maxPort)
		if hostOK && guestOK || n.res.late {
			p.Ports = append(p.Ports, tasks.Port{Host: host, Guest: guest})
		}
	}
}

func (d *decoder) volumes(p *tasks.Machine) {
	seen, names := map[string]hcl.Range{}, map[string]hcl.Range{}
	for _, b := range d.b.blocks[volumeSchema.Name] {
		n := d.in(b)
		var v tasks.Volume
		host, hasHost := n.text("host")
		name, hasName := n.text("name")
		switch {
		case hasHost && hasName:
			n.fault(name, "Contradictory attributes", "A volume is either a directory of the host, or one that is kept under a name. Remove host or name.")
		case hasHost:
			v.Host, _ = n.hostPath(host)
		case hasName:
			v.Name = name.AsString()
			if !isName(v.Name) {
				n.fault(name, "Invalid name", "%s: a volume's name has letters, digits, _ and -, up to 128 in all, and starts with a letter or _.", name.quote())
			}
			d.unique(names, v.Name, name.attr.Expr.Range(), "volume", "is the name of a volume of this machine")
		case b.attrs["host"] == nil && b.attrs["name"] == nil:
			n.report(errorAt(b.defRange, "Missing attribute", "A volume needs host, a directory on the host, or name, under which one is kept for the machine."))
		}
		if guest, ok := n.text("guest"); ok {
			v.Guest = n.guestPath(guest)
			d.unique(seen, v.Guest, guest.attr.Expr.Range(), "volume", "is a volume")
		}
		v.ReadOnly, _ = n.boolean("readonly", false)
		p.Volumes = append(p.Volumes, v)
	}
}
