package bottlefile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/zclconf/go-cty/cty"

	"bottlebuild/tasks"
	"bottlebuild/tasks/buildkit"
)

// imageOptions are the attributes of an image that docker calls build options.
var imageOptions = []*AttrSchema{
	{Name: "annotations", Type: cty.Map(cty.String), InKey: true, Doc: "Annotations of the manifest, or where a prefix says: \"index:org.example.x\"; null leaves one out."},
	{Name: "network", Type: cty.String, Default: "the builder's", InKey: true, Doc: "Network of RUN: sandbox, none or host. It enters the key if there is a RUN."},
	{Name: "shm_size", Type: cty.DynamicPseudoType, TypeName: "size", Default: "the builder's", InKey: true, Doc: "Size of /dev/shm in RUN, in whole KiB. It enters the key if there is a RUN."},
	{Name: "ulimits", Type: cty.List(cty.String), InKey: true, Doc: "Limits of RUN: \"nofile=1024:2048\". They enter the key if there is a RUN."},
	{Name: "add_hosts", Type: cty.Map(cty.String), TypeName: "map of addresses", InKey: true, Doc: "Addresses by name, for /etc/hosts in RUN. They enter the key if there is a RUN."},
	{Name: "entitlements", Type: cty.List(cty.String), Doc: "Privileges that RUN may use: network.host, security.insecure."},
	{Name: "ssh", Type: cty.List(cty.String), Doc: "For RUN --mount=type=ssh: \"default\" for the user's agent, \"ID=PATH\" for a key or the socket of another."},
	{Name: "cache_from", Type: cty.List(cty.String), Doc: "Build caches to read: \"type=registry,ref=…\", \"type=local,src=DIR\"."},
	{Name: "cache_to", Type: cty.List(cty.String), Doc: "Build caches to write: \"type=registry,ref=…\", \"type=local,dest=DIR\", \"type=inline\", which enters the key."},
	{Name: "no_cache_filter", Type: cty.List(cty.String), Doc: "Stages to build again in every run."},
	{Name: "pull", Type: cty.Bool, Default: "false", Doc: "Passed on to the builder, where it decides little: with or without it, each run asks registries what tags stand for, unless the lock file says so, and builds from those digests."},
	{Name: "max_age", Type: cty.DynamicPseudoType, TypeName: "duration", Doc: "Builds again, without any cache, what is older, such as \"168h\": for steps whose result depends on more than their inputs."},
	{Name: "attest", Type: cty.List(cty.String), InKey: true, Doc: "Attestations to make: \"type=provenance,mode=max\", \"type=sbom\", which needs a scanner image (generator=REF). They are pushed with the image; what is made of it does not depend on them."},
}

var (
	networks     = []string{tasks.NetworkSandbox, tasks.NetworkNone, tasks.NetworkHost}
	entitlements = []string{"network.host", "security.insecure"}
)

// maxAge bounds max_age: a year.
const maxAge = 365 * 24 * time.Hour

// options reads imageOptions into p.
func (d *decoder) options(p *tasks.Image) {
	p.Annotations = d.dict("annotations", func(key string) string {
		if err := buildkit.CheckAnnotation(key); err != nil {
			return err.Error()
		}
		return ""
	})
	p.Network = d.word("network", "", networks)
	p.ShmSize = int64(d.size("shm_size", 1<<10, "KiB")) << 10
	for _, v := range d.list("ulimits") {
		if _, err := units.ParseUlimit(v.AsString()); err != nil || strings.Contains(v.AsString(), ",") {
			d.fault(v, "Invalid limit", "%s is %s, which is no limit such as \"nofile=1024:2048\".", v.name(), v.quote())
		}
		p.Ulimits = append(p.Ulimits, v.AsString())
	}
	p.AddHosts = d.addHosts()
	for _, v := range d.list("entitlements") {
		if !slices.Contains(entitlements, v.AsString()) {
			d.fault(v, "Invalid entitlement", "%s is %s, not %s.", v.name(), oneOf(entitlements), v.quote())
		}
		p.Entitlements = append(p.Entitlements, v.AsString())
	}
	p.SSH = d.ssh()
	p.CacheFrom = d.caches("cache_from", "src")
	p.CacheTo = d.caches("cache_to", "dest")
	p.NoCacheFilter = d.texts("no_cache_filter")
	p.Pull, _ = d.boolean("pull", false)
	p.MaxAge = d.durationUpTo("max_age", 0, maxAge)
	p.Attest = d.attest()
}

// attest reads "type=TYPE,OPTION=VALUE" and, as a short form, the type alone.
func (d *decoder) attest() map[string]string {
	attest := map[string]string{}
	for _, v := range d.list("attest") {
		text, disabled := v.AsString(), false
		if !strings.Contains(text, "=") {
			text = "type=" + text
		}
		kind, options := "", []string{}
		for o := range strings.SplitSeq(text, ",") {
			switch key, value, _ := strings.Cut(o, "="); key {
			case "type":
				kind = value
			case "disabled":
				disabled = value == "true"
			default:
				options = append(options, o)
			}
		}
		_, twice := attest[kind]
		switch err := buildkit.CheckAttestation(kind, strings.Join(options, ",")); {
		case err != nil:
			d.fault(v, "Invalid attestation", "%s is %s: %s. Write \"type=provenance,mode=max\" or \"type=sbom\".", v.name(), v.quote(), err)
		case twice:
			d.fault(v, "Invalid attestation", "%s: %s stands there already.", v.name(), kind)
		case !disabled:
			attest[kind] = strings.Join(options, ",")
		}
	}
	if len(attest) == 0 {
		return nil
	}
	return attest
}

func (d *decoder) addHosts() map[string]string {
	hosts := d.dict("add_hosts", func(key string) string {
		if !hostRE.MatchString(key) {
			return "it is not a host name"
		}
		return ""
	})
	for _, name := range sortedKeys(hosts) {
		if _, err := netip.ParseAddr(hosts[name]); err != nil {
			v, _ := d.get("add_hosts")
			d.fault(v, "Invalid address", "The address of %s is not an address such as \"10.0.0.1\".", name)
		}
	}
	return hosts
}

// ssh reads "ID" and "ID=PATH,PATH".
func (d *decoder) ssh() map[string][]string {
	sources := map[string][]string{}
	for _, v := range d.list("ssh") {
		id, list, hasPaths := strings.Cut(v.AsString(), "=")
		if _, twice := sources[id]; twice || id == "" {
			d.fault(v, "Invalid name in ssh", "%s is %s: each is ID or ID=PATH, and no ID stands there twice.", v.name(), v.quote())
		}
		sources[id] = nil
		if !hasPaths {
			continue
		}
		for p := range strings.SplitSeq(list, ",") {
			path, _ := d.hostPath(value{Value: cty.StringVal(p), attr: v.attr, number: v.number, sensitive: v.sensitive})
			sources[id] = append(sources[id], path)
		}
	}
	if len(sources) == 0 {
		return nil
	}
	return sources
}

// cacheTypes are the kinds of build caches that BuildKit has.
var cacheTypes = []string{"registry", "local", "inline", "gha", "s3", "azblob"}

// caches reads "type=TYPE,KEY=VALUE" and, for a registry, the reference alone.
// The attribute called dir is a directory of this machine.
func (d *decoder) caches(name, dir string) []buildkit.CacheOption {
	var options []buildkit.CacheOption
	for _, v := range d.list(name) {
		text := v.AsString()
		if !strings.Contains(text, "=") {
			text = "type=registry,ref=" + text
		}
		o := buildkit.CacheOption{Attrs: map[string]string{}}
		for pair := range strings.SplitSeq(text, ",") {
			key, val, ok := strings.Cut(pair, "=")
			switch {
			case !ok || key == "" || val == "":
				d.fault(v, "Invalid cache", "%s is %s, which is not of the form \"type=TYPE,KEY=VALUE\".", v.name(), v.quote())
			case key == "type":
				o.Type = val
			case key == dir:
				o.Attrs[key], _ = d.hostPath(value{Value: cty.StringVal(val), attr: v.attr, number: v.number, sensitive: v.sensitive})
			default:
				o.Attrs[key] = val
			}
		}
		need := map[string]string{"registry": "ref", "local": dir}[o.Type]
		switch {
		case o.Type == "":
			d.fault(v, "Invalid cache", "%s has no type: write \"type=registry,ref=…\" or \"type=local,%s=DIR\".", v.name(), dir)
		case !slices.Contains(cacheTypes, o.Type):
			hint := ""
			if m := suggest(o.Type, cacheTypes); m != "" && !v.sensitive {
				hint = fmt.Sprintf(" Did you mean %q?", m)
			}
			d.fault(v, "Invalid cache", "%s is %s; its type is not one of %s.%s", v.name(), v.quote(), oneOf(cacheTypes), hint)
		case need != "" && o.Attrs[need] == "":
			d.fault(v, "Invalid cache", "%s is of type %s and needs %s=….", v.name(), o.Type, need)
		}
		options = append(options, o)
	}
	return options
}
