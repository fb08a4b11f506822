package bottlefile

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"time"

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
	fileSchema = &BlockSchema{
		Name: "file", Labels: []string{"path"}, Many: true, Doc: "A file written into the machine before it is provisioned.",
		Attrs: []*AttrSchema{
			{Name: "content", Type: cty.String, Required: true, InKey: true, Doc: "What is in it."},
			{Name: "mode", Type: cty.DynamicPseudoType, TypeName: "octal string", Default: `"0644"`, InKey: true, Doc: "Permission bits."},
			{Name: "owner", Type: cty.String, Default: `"root"`, InKey: true, Doc: "User, or user:group."},
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
		Name: "volume", Many: true, Doc: "A directory of the host that the machine shares.",
		Attrs: []*AttrSchema{
			{Name: "host", Type: cty.String, TypeName: "path", Required: true, InKey: true, Doc: "Directory on the host, relative to the bottle file."},
			{Name: "guest", Type: cty.String, TypeName: "path in the machine", Required: true, InKey: true, Doc: "Where it is in the machine."},
			{Name: "readonly", Type: cty.Bool, Default: "false", InKey: true, Doc: "Keeps the machine from writing to it."},
		},
	}
	provisionSchema = &BlockSchema{
		Name: "provision", Many: true, Doc: "A command that is run once per created machine, in order.",
		Attrs: []*AttrSchema{
			{Name: "exec", Type: cty.List(cty.String), Required: true, InKey: true, Doc: "The command and its arguments; no shell is involved."},
			{Name: "user", Type: cty.String, Default: `"root"`, InKey: true, Doc: "Who runs it."},
		},
	}
	readySchema = &BlockSchema{
		Name: "ready", Doc: "How to tell that the machine is ready: exactly one of exec, tcp and http.",
		Attrs: []*AttrSchema{
			{Name: "exec", Type: cty.List(cty.String), InKey: true, Doc: "A command that succeeds."},
			{Name: "tcp", Type: cty.Number, InKey: true, Doc: "A port in the machine that accepts connections."},
			{Name: "http", Type: cty.String, TypeName: "URL", InKey: true, Doc: "A URL in the machine that answers with 2xx or 3xx: \"http://:80/healthz\"."},
			{Name: "timeout", Type: cty.DynamicPseudoType, TypeName: "duration", Default: `"30s"`, InKey: true, Doc: "How long to wait."},
			{Name: "interval", Type: cty.DynamicPseudoType, TypeName: "duration", Default: `"500ms"`, InKey: true, Doc: "How often to try."},
		},
	}
)

var userRE = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?$`)

const (
	defaultMode     = 0o644
	defaultTimeout  = 30 * time.Second
	defaultInterval = 500 * time.Millisecond
	maxPort         = 65535
)

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
	switch listed := d.b.attrs["allow_hosts"] != nil || d.b.attrs["allow_cidrs"] != nil; {
	case open && listed:
		d.fault(v, "Contradictory attributes", "open allows everything, so a list of what is allowed has no meaning beside it. Remove one of the two.")
	case listed && !open && !d.res.late && len(n.AllowHosts)+len(n.AllowCIDRs) == 0 && !d.res.diags.HasErrors():
		d.report(warningAt(d.b.defRange, "Empty allow-list", "Nothing is allowed here, so the machine has no network at all. Remove the block if that is meant, or write open = true for everything."))
	}
	return n
}

func (d *decoder) files(p *tasks.Machine) {
	seen := map[string]hcl.Range{}
	for _, b := range d.b.blocks[fileSchema.Name] {
		n := d.in(b)
		f := tasks.File{Mode: n.mode("mode", defaultMode)}
		label := value{Value: cty.StringVal(b.label()), attr: &attr{Attribute: &hcl.Attribute{Name: "the path", Expr: hcl.StaticExpr(cty.NilVal, b.labelRange())}}}
		f.Path = n.guestPath(label)
		d.unique(seen, f.Path, b.labelRange(), "file", "is written")
		if v, ok := n.get("content"); ok {
			f.Content = v.AsString()
		}
		if v, ok := n.text("owner"); ok {
			f.Owner = v.AsString()
			n.checkUser(v)
		}
		p.Files = append(p.Files, f)
	}
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
	seen := map[string]hcl.Range{}
	for _, b := range d.b.blocks[volumeSchema.Name] {
		n := d.in(b)
		var v tasks.Volume
		if host, ok := n.text("host"); ok {
			v.Host, _ = n.hostPath(host)
		}
		if guest, ok := n.text("guest"); ok {
			v.Guest = n.guestPath(guest)
			d.unique(seen, v.Guest, guest.attr.Expr.Range(), "volume", "is a volume")
		}
		v.ReadOnly, _ = n.boolean("readonly", false)
		p.Volumes = append(p.Volumes, v)
	}
}

func (d *decoder) provision() tasks.Provision {
	p := tasks.Provision{Exec: d.command("exec")}
	if v, ok := d.text("user"); ok {
		p.User = v.AsString()
		d.checkUser(v)
	}
	return p
}

// command returns the arguments of a command, of which the first is not empty.
func (d *decoder) command(name string) []string {
	a := d.b.attrs[name]
	if a == nil {
		return nil
	}
	before := len(d.res.diags)
	args := d.texts(name)
	if len(d.res.diags) > before || d.res.late || d.scope.bad[a.Expr] {
		return args
	}
	if len(args) == 0 || args[0] == "" {
		d.report(errorAt(a.Expr.Range(), "Empty command", "%s is a program and its arguments, such as [\"test\", \"-w\", \"/home\"].", name))
	}
	return args
}

func (d *decoder) ready() *tasks.Ready {
	r := &tasks.Ready{
		Exec:     d.command("exec"),
		Timeout:  d.duration("timeout", defaultTimeout),
		Interval: d.duration("interval", defaultInterval),
	}
	r.TCP, _ = d.integer("tcp", maxPort)
	if v, ok := d.text("http"); ok {
		r.HTTP = v.AsString()
		d.checkProbe(v)
	}
	var given []string
	for _, name := range []string{"exec", "tcp", "http"} {
		if !d.unset(name) {
			given = append(given, name)
		}
	}
	switch {
	case len(given) == 0:
		d.report(errorAt(d.b.defRange, "Probe without a test", "A ready block needs exactly one of exec, tcp and http."))
	case len(given) > 1:
		d.report(errorAt(d.b.attrs[given[1]].NameRange, "Contradictory attributes", "A ready block has exactly one of exec, tcp and http; this one has %s. Remove all but one.", oneOf(given)))
	case r.Interval > r.Timeout:
		if a := d.b.attrs["interval"]; a != nil {
			d.report(errorAt(a.Expr.Range(), "Contradictory attributes", "The interval of %s is longer than the timeout of %s.", r.Interval, r.Timeout))
		}
	}
	return r
}

// checkProbe reports what is not a URL of the machine itself.
func (d *decoder) checkProbe(v value) {
	u, err := url.Parse(v.AsString())
	const form = "http is a URL in the machine, http://:PORT/PATH"
	switch {
	case err != nil:
		d.fault(v, "Invalid probe URL", "%s; %s cannot be read as one.", form, v.quote())
	case u.Scheme != "http":
		d.fault(v, "Invalid probe URL", "%s; %s does not start with http://.", form, v.quote())
	case u.Hostname() != "":
		port := u.Port()
		if port == "" {
			port = "80"
		}
		d.fault(v, "Invalid probe URL", "%s, without a host. Did you mean %q?", form, fmt.Sprintf("http://:%s%s", port, u.EscapedPath()))
	case u.Port() == "":
		d.fault(v, "Invalid probe URL", "%s; %s has no port.", form, v.quote())
	default:
		if n, err := strconv.Atoi(u.Port()); err != nil || n < 1 || n > maxPort {
			d.fault(v, "Invalid probe URL", "The port of %s is not from 1 to %d.", v.quote(), maxPort)
		}
	}
}
