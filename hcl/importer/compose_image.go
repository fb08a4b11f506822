package importer

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	bottlefile "bottlebuild/hcl"
)

// buildKeys are those that image reads.
var buildKeys = []string{
	"additional_contexts", "args", "cache_from", "cache_to", "context", "dockerfile", "dockerfile_inline", "entitlements",
	"extra_hosts", "labels", "network", "no_cache", "no_cache_filter", "platforms", "provenance", "pull", "sbom", "secrets",
	"shm_size", "ssh", "tags", "target", "ulimits",
}

// image writes the build of a service.
func (c *compose) image(s types.ServiceConfig) {
	build := s.Build
	b := c.add("image " + quote(c.images[s.Name]))
	switch {
	case build.Context == "":
	case bottlefile.CanBeContext(build.Context):
		b.set("context", c.text(c.relative(build.Context)))
	default:
		c.left(b, s, "its context "+build.Context+" is left out: a context is a directory, an image or a Git URL; other URLs can be named contexts")
	}
	if build.DockerfileInline != "" {
		b.set("dockerfile_inline", c.text(build.DockerfileInline))
	} else if build.Dockerfile != "" && build.Dockerfile != "Dockerfile" {
		b.set("dockerfile", c.text(build.Dockerfile))
	}
	if build.Target != "" {
		b.set("target", c.text(build.Target))
	}
	var args []pair
	for _, k := range slices.Sorted(maps.Keys(build.Args)) {
		if v := build.Args[k]; v != nil {
			args = append(args, pair{k, c.text(*v)})
		} else {
			c.left(b, s, "the build argument "+k+" was taken from the environment; give it a value, or a variable")
		}
	}
	c.object(b, "args", args)
	var labels []pair
	for _, k := range slices.Sorted(maps.Keys(build.Labels)) {
		labels = append(labels, pair{k, c.text(build.Labels[k])})
	}
	c.object(b, "labels", labels)
	c.contexts(b, s)
	c.mounts(b, s)
	platforms := build.Platforms
	if len(platforms) == 0 && platform.MatchString(s.Platform) {
		platforms = []string{s.Platform}
	}
	c.list(b, "platforms", platforms)
	c.list(b, "cache_from", c.cacheRefs(build.CacheFrom))
	c.list(b, "cache_to", c.cacheRefs(build.CacheTo))
	c.list(b, "no_cache_filter", build.NoCacheFilter)
	var entitlements []string
	for _, e := range build.Entitlements {
		if e == "network.host" || e == "security.insecure" {
			entitlements = append(entitlements, e)
		} else {
			c.left(b, s, "the entitlement "+e+" of its build is left out: it is network.host or security.insecure")
		}
	}
	c.list(b, "entitlements", entitlements)
	switch build.Network {
	case "", "default":
	case "host", "none":
		b.set("network", quote(build.Network))
	default:
		c.left(b, s, "the network "+build.Network+" of its build is left out: it is none, host or the builder's own")
	}
	if build.ShmSize > 0 {
		b.set("shm_size", quote(size(int64(build.ShmSize))))
	}
	if build.NoCache {
		b.set("no_cache", "true")
	}
	if build.Pull {
		b.set("pull", "true")
	}
	c.options(b, s)
	raw, _ := c.service(s.Name)["build"].(map[string]any)
	c.rest(b, s, "build", raw, buildKeys, keysOf[types.BuildConfig]())
}

func (c *compose) contexts(b *block, s types.ServiceConfig) {
	var contexts []pair
	for _, k := range slices.Sorted(maps.Keys(s.Build.AdditionalContexts)) {
		v := s.Build.AdditionalContexts[k]
		name, ok := strings.CutPrefix(v, "service:")
		switch {
		case !ok:
			contexts = append(contexts, pair{k, c.text(c.relative(v))})
		case c.project.Services[name].Build != nil:
			contexts = append(contexts, pair{k, "image." + c.images[name]})
		default:
			c.left(b, s, "the context "+k+" is left out: there is no service "+name+" that is built")
		}
	}
	c.object(b, "contexts", contexts)
}

func (c *compose) mounts(b *block, s types.ServiceConfig) {
	var mounts []pair
	for _, m := range s.Build.Secrets {
		id := m.Target
		if id == "" {
			id = m.Source
		}
		if name := c.secret(m.Source); name != "" {
			mounts = append(mounts, pair{id, "secret." + name})
		} else {
			c.left(b, s, "the secret "+m.Source+" has neither a file nor a variable of the environment")
		}
	}
	c.object(b, "secrets", mounts)
}

// cacheRefs writes caches that are just a reference in their long form.
func (c *compose) cacheRefs(refs []string) []string {
	var long []string
	for _, r := range refs {
		if !strings.Contains(r, "=") {
			r = "type=registry,ref=" + r
		}
		long = append(long, r)
	}
	return long
}

// options writes what of a build is written otherwise here.
func (c *compose) options(b *block, s types.ServiceConfig) {
	build := s.Build
	var keys []string
	for _, k := range build.SSH {
		key := k.ID
		if k.Path != "" {
			key += "=" + c.relative(k.Path)
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	c.list(b, "ssh", keys)
	var hosts []pair
	for _, name := range slices.Sorted(maps.Keys(build.ExtraHosts)) {
		for i, address := range build.ExtraHosts[name] {
			_, err := netip.ParseAddr(address)
			switch {
			case err != nil:
				c.left(b, s, "the host "+name+" of its build is left out: "+address+" is no address")
			case i > 0:
				c.left(b, s, "the address "+address+" of the host "+name+" is left out: a host has one")
			default:
				hosts = append(hosts, pair{name, quote(address)})
			}
		}
	}
	c.object(b, "add_hosts", hosts)
	var limits []string
	for _, name := range slices.Sorted(maps.Keys(build.Ulimits)) {
		l := build.Ulimits[name]
		if l.Single != 0 {
			limits = append(limits, fmt.Sprintf("%s=%d", name, l.Single))
		} else {
			limits = append(limits, fmt.Sprintf("%s=%d:%d", name, l.Soft, l.Hard))
		}
	}
	c.list(b, "ulimits", limits)
	var attest []string
	for _, a := range []struct{ kind, value string }{{"provenance", build.Provenance}, {"sbom", build.SBOM}} {
		switch a.value {
		case "":
		case "true":
			attest = append(attest, "type="+a.kind)
		case "false":
			attest = append(attest, "type="+a.kind+",disabled=true")
		default:
			attest = append(attest, "type="+a.kind+","+a.value)
		}
	}
	c.list(b, "attest", attest)
}

// secret returns the name of a secret, and declares it if it is new; "" if it has
// no source that a bottle file knows.
func (c *compose) secret(source string) string {
	if name, ok := c.secrets[source]; ok {
		return name
	}
	def, ok := c.project.Secrets[source]
	if !ok || def.Environment == "" && def.File == "" {
		return ""
	}
	name := c.secretNames.pick(source)
	c.secrets[source] = name
	b := c.add("secret " + quote(name))
	if def.Environment != "" {
		b.set("env", quote(def.Environment))
	} else {
		b.set("file", quote(c.relative(def.File)))
	}
	return name
}
