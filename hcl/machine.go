package bottlefile

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
)

var machineSchema = &BlockSchema{
	Name: "machine",
	Doc:  "A machine that is created, started, provisioned and probed.",
	Attrs: []*AttrSchema{
		{Name: "name", Type: cty.String, TypeName: "DNS label", Default: "the bottle's name and key", InKey: true, Early: true, Doc: "The machine's name, unique on the host."},
		{Name: "cpus", Type: cty.Number, Default: "the backend's", InKey: true, Doc: "Number of processors."},
		{Name: "memory", Type: cty.DynamicPseudoType, TypeName: "size", Default: "the backend's", InKey: true, Doc: "Memory, in whole MiB: \"6GiB\"."},
		{Name: "storage", Type: cty.DynamicPseudoType, TypeName: "size", Default: "the backend's", InKey: true, Doc: "Size of the disk, in whole GiB: \"20GiB\"."},
		{Name: "env", Type: cty.Map(cty.String), InKey: true, Doc: "Environment of everything that runs in the machine; null leaves a variable out."},
		{Name: "secrets", Type: cty.DynamicPseudoType, TypeName: "map of secrets", InKey: true, Doc: "Environment variables with values of secrets, for provision, ready, check and exec: { TOKEN = secret.token }. Names and versions enter the key, values never; the image's own command does not get them."},
		{Name: "user", Type: cty.String, Default: "the image's", InKey: true, Doc: "User of the image's command, of ready probes and of exec. On smolvm the command runs as the image says."},
		{Name: "workdir", Type: cty.String, TypeName: "path in the machine", Default: "the image's", InKey: true, Doc: "Working directory of the image's command, of provision, ready and exec. On smolvm the command has the image's."},
		{Name: "restart", Type: cty.String, Default: `"never"`, InKey: true, Doc: "What happens when the image's command ends by itself: never, on-failure (it is started again unless its exit code was 0), always."},
		{Name: "on_error", Type: cty.String, Default: `"cleanup"`, Doc: "What happens to a new machine that cannot be provisioned, is not ready in time or fails a check: cleanup removes it; keep leaves it for a look at it, until the next run."},
		{Name: "self_test", Type: cty.Bool, Default: "true", Doc: "Whether it is tested after boot that the machine is as isolated and set up as this block says."},
		{Name: "replace", Type: cty.String, Default: `"if-stopped"`, Doc: "When a machine that no longer matches may be replaced, and its disk discarded: never, if-stopped, always."},
	},
	Dynamic: true,
	Blocks:  []*BlockSchema{networkSchema, fileSchema, portSchema, volumeSchema, provisionSchema, readySchema, checkSchema},
}

var (
	replaces = []string{tasks.ReplaceNever, tasks.ReplaceIfStopped, tasks.ReplaceAlways}
	restarts = []string{tasks.RestartNever, tasks.RestartOnFailure, tasks.RestartAlways}
	onErrors = []string{tasks.OnErrorCleanup, tasks.OnErrorKeep}
)

const (
	maxCPUs = 1024
	maxName = 63 // bytes, as of a DNS label
)

// machineName is the name of an instance's machine, found once.
type machineName struct {
	done, ok bool
	name     string
	at       hcl.Range
}

// machineName returns the name of the machine of an instance that has one. It
// is found apart from the rest of the machine, so that other expressions, those
// of this machine too, can refer to it.
func (ev *evaluator) machineName(i *instance) machineName {
	if i.machine.done {
		return i.machine
	}
	b := ev.body(i).one(machineSchema.Name)
	n := machineName{done: true, at: b.defRange}
	a := b.attrs["name"]
	if a == nil {
		n.name = strings.ReplaceAll(repositoryName(i), ".", "-")
		n.ok = dnsLabelRE.MatchString(n.name)
		if !n.ok {
			ev.report(errorAt(b.defRange, "Invalid machine name", "The machine of %s has no name, and %q, which is made of the bottle's name and key, is not valid. Write name = \"…\": up to %d lower-case letters, digits and hyphens.", i.address, n.name, maxName))
		}
		i.machine = n
		return n
	}
	n.at = a.Expr.Range()
	d := &decoder{ev: ev, b: b, scope: ev.scopeOf([]*attr{a}, i.each != cty.NilVal), res: &decoded{}}
	d.ctx = d.scope.ctx
	d.bind("each", i.each)
	d = d.in(b)
	if v, ok := d.text("name"); ok {
		n.name = v.AsString()
		if n.ok = dnsLabelRE.MatchString(n.name); !n.ok {
			hint := ""
			if s := strings.ToLower(strings.ReplaceAll(slug(n.name, "-"), "_", "-")); dnsLabelRE.MatchString(s) {
				hint = " Did you mean \"" + s + "\"?"
			} else if len(n.name) > maxName {
				hint = " This one is too long."
			}
			d.fault(v, "Invalid machine name", "%s is not a machine name: up to %d lower-case letters, digits and hyphens, with no hyphen at either end.%s", v.quote(), maxName, hint)
		}
	}
	ev.diags = append(ev.diags, d.res.diags...)
	i.machine = n
	return n
}

// machine reads the parameters of a machine; d is of the machine block.
func (d *decoder) machine(inst *instance, backend, runtime string) tasks.Machine {
	p := tasks.Machine{
		Pack: inst.address + ".pack", Backend: backend, Runtime: runtime, Project: d.ev.f.opts.Project,
		Name:       d.ev.machineName(inst).name,
		MemoryMiB:  d.size("memory", 1<<20, "MiB"),
		StorageGiB: d.size("storage", 1<<30, "GiB"),
		Env:        d.dict("env", envName),
		Secrets:    d.secrets(envName),
		Restart:    d.word("restart", tasks.RestartNever, restarts),
		Replace:    d.word("replace", tasks.ReplaceIfStopped, replaces),
		OnError:    d.word("on_error", tasks.OnErrorCleanup, onErrors),
	}
	for _, name := range sortedKeys(p.Secrets) {
		if _, ok := p.Env[name]; ok {
			d.report(errorAt(d.b.attrs["secrets"].Expr.Range(), "Duplicate variable", "%s is in env and in secrets. Remove one of the two.", name))
		}
	}
	p.SelfTest, _ = d.boolean("self_test", true)
	p.CPUs, _ = d.integer("cpus", maxCPUs)
	if v, ok := d.text("user"); ok {
		p.User = v.AsString()
		d.checkUser(v)
	}
	if v, ok := d.text("workdir"); ok && v.AsString() != "/" {
		p.Workdir = d.guestPath(v)
	} else if ok {
		p.Workdir = "/"
	}
	if b := d.b.one(networkSchema.Name); b != nil {
		p.Network = d.in(b).network()
	}
	d.files(&p)
	d.ports(&p)
	d.volumes(&p)
	for _, b := range d.b.blocks[provisionSchema.Name] {
		p.Provision = append(p.Provision, d.in(b).provision())
	}
	if b := d.b.one(readySchema.Name); b != nil {
		n, before := d.in(b), len(d.res.diags)
		p.Ready = n.ready()
		if len(d.res.diags) == before {
			n.checkReachable(p)
		}
	}
	p.Checks = d.checks()
	return p
}

func envName(key string) string {
	if key == "" || strings.ContainsAny(key, "= \t\n\x00") {
		return "an environment variable's name has no spaces and no equals sign"
	}
	return ""
}

// checkUser reports what is no user, or user and group.
func (d *decoder) checkUser(v value) {
	user, group, hasGroup := strings.Cut(v.AsString(), ":")
	if !userRE.MatchString(user) || hasGroup && !userRE.MatchString(group) {
		d.fault(v, "Invalid user", "%s is a name or number, with :GROUP if wanted, such as \"node\" or \"1000:1000\", not %s.", v.name(), v.quote())
	}
}
