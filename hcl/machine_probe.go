package bottlefile

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

// What a machine is asked after it has booted. None of it needs another machine.
var (
	readySchema = &BlockSchema{
		Name: "ready", Doc: "How to tell that the machine is ready: exactly one of exec, tcp and http.",
		Attrs: []*AttrSchema{
			{Name: "exec", Type: cty.List(cty.String), Doc: "A command that succeeds."},
			{Name: "tcp", Type: cty.Number, Doc: "A port in the machine that accepts connections."},
			{Name: "http", Type: cty.String, TypeName: "URL", Doc: "A URL in the machine that answers with 2xx or 3xx: \"http://:80/healthz\"."},
			{Name: "timeout", Type: cty.DynamicPseudoType, TypeName: "duration", Default: `"30s"`, Doc: "How long to wait."},
			{Name: "interval", Type: cty.DynamicPseudoType, TypeName: "duration", Default: `"500ms"`, Doc: "How often to try."},
		},
	}
	checkSchema = &BlockSchema{
		Name: "check", Labels: []string{"name"}, Many: true,
		Doc: "A command that has to succeed each time the machine has booted and is ready, or the machine's node fails.",
		Attrs: []*AttrSchema{
			{Name: "exec", Type: cty.List(cty.String), Required: true, Doc: "The command and its arguments; no shell is involved."},
			{Name: "user", Type: cty.String, Default: "the machine's", Doc: "Who runs it."},
			{Name: "timeout", Type: cty.DynamicPseudoType, TypeName: "duration", Default: `"30s"`, Doc: "How long one attempt may take."},
			{Name: "retries", Type: cty.Number, Default: "0", Doc: "How often it is tried again when it fails."},
		},
	}
)

const (
	defaultTimeout  = 30 * time.Second
	defaultInterval = 500 * time.Millisecond
)

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

// checkReachable reports a probe of a port that smolvm has no way to: it reaches
// those that are published, where the container backend dials inside. d is of
// the ready block.
func (d *decoder) checkReachable(p tasks.Machine) {
	a, port := d.b.attrs["tcp"], p.Ready.TCP
	if p.Ready.HTTP != "" {
		a = d.b.attrs["http"]
		u, err := url.Parse(p.Ready.HTTP)
		if err != nil {
			return // reported
		}
		port, _ = strconv.Atoi(u.Port())
	}
	published := slices.ContainsFunc(p.Ports, func(q tasks.Port) bool { return q.Guest == port || q.Guest == 0 })
	if port == 0 || published || a == nil {
		return
	}
	const detail = "smolvm reaches a port of a machine only where it is published, and none of this machine's port blocks has guest = %d. Add port { host = …, guest = %d }, or probe with exec from inside."
	switch p.Backend {
	case tasks.BackendSmolvm:
		d.report(errorAt(a.Expr.Range(), "Probe of a port that is not published", detail, port, port))
	case tasks.BackendAuto:
		d.report(warningAt(a.Expr.Range(), "Probe of a port that is not published", "Where auto chooses smolvm, this machine cannot become ready: "+detail, port, port))
	}
}

// checks reads the commands that have to succeed after boot.
func (d *decoder) checks() []tasks.Check {
	var checks []tasks.Check
	seen := map[string]hcl.Range{}
	for _, b := range d.b.blocks[checkSchema.Name] {
		n := d.in(b)
		if b.label() == "" {
			d.report(errorAt(b.labelRange(), "Invalid name", "The name of a check is empty; it says in messages which one failed."))
		}
		d.unique(seen, b.label(), b.labelRange(), "check", "is a check")
		c := tasks.Check{Name: b.label(), Exec: n.command("exec"), Timeout: n.duration("timeout", defaultTimeout), Retries: n.retries()}
		if v, ok := n.text("user"); ok {
			c.User = v.AsString()
			n.checkUser(v)
		}
		checks = append(checks, c)
	}
	return checks
}
