package importer

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	bottlefile "bottlebuild/hcl"
)

// compose is a compose file on its way to a bottle file.
type compose struct {
	*file
	base    string
	dir     string // absolute; paths become relative to it
	project *types.Project
	names   names
	images  map[string]string // what services' images are called here
	secrets map[string]string
}

// Compose translates a compose file: services that are built become images, and
// all of them bottles with machines. dir is its directory. Variables of the
// environment are not read: their defaults are taken.
func Compose(ctx context.Context, path string, src []byte, dir string) (Result, error) {
	c := &compose{file: &file{}, base: filepath.Base(path), dir: dir, images: map[string]string{}, secrets: map[string]string{}}
	unset := map[string]bool{}
	project, err := loadCompose(src, dir, func(name string) (string, bool) {
		unset[name] = true
		return "", false
	})
	if err != nil {
		return Result{}, fmt.Errorf("read compose file %s: %w", path, err)
	}
	c.project = project
	c.head = []string{
		"Made from " + c.base + " by: bottlebuild init --from " + c.base,
		"What could not be carried over stands in comments. Check it with: bottlebuild validate",
	}
	for _, name := range slices.Sorted(maps.Keys(unset)) {
		c.warn(c.base, "the variable %s of the environment is not read: its default is taken, or nothing", name)
	}
	services := slices.Sorted(maps.Keys(project.Services))
	for _, name := range services {
		here := c.names.pick(name)
		c.images[name] = here
	}
	for _, name := range services {
		s := project.Services[name]
		if s.Build != nil {
			c.image(s)
		}
		c.bottle(s)
	}
	return c.result(), nil
}

// left notes what of a service has no counterpart.
func (c *compose) left(b *block, s types.ServiceConfig, what string) {
	b.comment(c.warn(c.base+": service "+s.Name, "%s", what))
}

// relative writes a path relative to the bottle file.
func (c *compose) relative(path string) string {
	if rel, err := filepath.Rel(c.dir, path); err == nil && filepath.IsAbs(path) {
		if rel == "." || filepath.IsLocal(rel) {
			return rel
		}
	}
	return path
}

func (c *compose) image(s types.ServiceConfig) {
	build := s.Build
	b := c.add("image " + quote(c.images[s.Name]))
	if bottlefile.CanBeContext(build.Context) {
		b.set("context", quote(c.relative(build.Context)))
	} else {
		c.left(b, s, "its context "+build.Context+" is left out: a context is a directory, an image or a Git URL; other URLs can be named contexts")
	}
	if build.DockerfileInline != "" {
		b.set("dockerfile_inline", quote(build.DockerfileInline))
	} else if build.Dockerfile != "" && build.Dockerfile != "Dockerfile" {
		b.set("dockerfile", quote(build.Dockerfile))
	}
	if build.Target != "" {
		b.set("target", quote(build.Target))
	}
	var args []pair
	for _, k := range slices.Sorted(maps.Keys(build.Args)) {
		if v := build.Args[k]; v != nil {
			args = append(args, pair{k, quote(*v)})
		} else {
			c.left(b, s, "the build argument "+k+" was taken from the environment; give it a value, or a variable")
		}
	}
	c.object(b, "args", args)
	c.object(b, "labels", texts(build.Labels))
	var contexts []pair
	for _, k := range slices.Sorted(maps.Keys(build.AdditionalContexts)) {
		v := build.AdditionalContexts[k]
		if name, ok := strings.CutPrefix(v, "service:"); ok && c.project.Services[name].Build != nil {
			contexts = append(contexts, pair{k, "image." + c.images[name]})
		} else {
			contexts = append(contexts, pair{k, quote(c.relative(v))})
		}
	}
	c.object(b, "contexts", contexts)
	var mounts []pair
	for _, m := range build.Secrets {
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
	c.list(b, "platforms", build.Platforms)
	c.list(b, "cache_from", build.CacheFrom)
	c.list(b, "cache_to", build.CacheTo)
	c.list(b, "entitlements", build.Entitlements)
	if build.Network == "host" || build.Network == "none" {
		b.set("network", quote(build.Network))
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
	if len(build.SSH) > 0 {
		c.left(b, s, "ssh of its build is left out")
	}
	if len(build.ExtraHosts) > 0 {
		c.left(b, s, "extra_hosts of its build is left out")
	}
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
	name := (&names{}).pick(source)
	c.secrets[source] = name
	b := c.add("secret " + quote(name))
	if def.Environment != "" {
		b.set("env", quote(def.Environment))
	} else {
		b.set("file", quote(c.relative(def.File)))
	}
	return name
}

func (c *compose) bottle(s types.ServiceConfig) {
	b := c.add("bottle " + quote(c.images[s.Name]))
	switch {
	case s.Build != nil:
		b.set("image", "image."+c.images[s.Name])
	default:
		b.set("image", quote(s.Image))
	}
	m := b.block("machine")
	if cpus := float64(s.CPUS); cpus > 0 {
		m.set("cpus", strconv.Itoa(max(1, int(cpus+0.99))))
	}
	if s.MemLimit > 0 {
		m.set("memory", quote(size(int64(s.MemLimit))))
	}
	var env []pair
	for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[k]; v != nil {
			env = append(env, pair{k, quote(*v)})
		} else {
			c.left(m, s, "the variable "+k+" was taken from the environment; give it a value, or a secret")
		}
	}
	c.object(m, "env", env)
	if s.User != "" {
		m.set("user", quote(s.User))
	}
	if s.WorkingDir != "" {
		m.set("workdir", quote(s.WorkingDir))
	}
	switch policy, _, _ := strings.Cut(s.Restart, ":"); policy {
	case "always", "unless-stopped":
		m.set("restart", `"always"`)
	case "on-failure":
		m.set("restart", `"on-failure"`)
	}
	if s.NetworkMode != "none" && !c.explained {
		c.explained = true
		m.comment("A service of compose reaches every network; a machine reaches nothing without a\nblock such as network { allow_hosts = [\"api.example.com\"] }, or { open = true }.")
	}
	c.ports(m, s)
	c.volumes(m, s)
	c.ready(m, s)
	none := map[string]bool{
		"command": len(s.Command) > 0, "entrypoint": len(s.Entrypoint) > 0, "depends_on": len(s.DependsOn) > 0, "env_file": len(s.EnvFiles) > 0,
		"secrets": len(s.Secrets) > 0, "configs": len(s.Configs) > 0, "privileged": s.Privileged, "devices": len(s.Devices) > 0,
		"cap_add": len(s.CapAdd) > 0, "extends": s.Extends != nil,
	}
	for _, what := range slices.Sorted(maps.Keys(none)) {
		if none[what] {
			c.left(m, s, what+" has no counterpart and is left out")
		}
	}
}

func (c *compose) ports(m *block, s types.ServiceConfig) {
	for _, p := range s.Ports {
		host, err := strconv.Atoi(p.Published)
		if p.Protocol != "" && p.Protocol != "tcp" || err != nil || p.Target == 0 {
			c.left(m, s, fmt.Sprintf("the port %s:%d/%s is left out: a machine publishes single TCP ports of the host", p.Published, p.Target, p.Protocol))
			continue
		}
		n := m.block("port")
		n.set("host", strconv.Itoa(host))
		n.set("guest", strconv.FormatUint(uint64(p.Target), 10))
	}
}

func (c *compose) volumes(m *block, s types.ServiceConfig) {
	for _, v := range s.Volumes {
		if v.Type != types.VolumeTypeBind {
			c.left(m, s, fmt.Sprintf("the volume %s at %s is left out: machines share directories of the host, and keep their own disk", v.Source, v.Target))
			continue
		}
		n := m.block("volume")
		n.set("host", quote(c.relative(v.Source)))
		n.set("guest", quote(v.Target))
		if v.ReadOnly {
			n.set("readonly", "true")
		}
	}
}

// ready writes a health check that is a command.
func (c *compose) ready(m *block, s types.ServiceConfig) {
	h := s.HealthCheck
	if h == nil || h.Disable || len(h.Test) < 2 {
		return
	}
	args := h.Test[1:]
	if h.Test[0] == "CMD-SHELL" {
		args = append([]string{"/bin/sh", "-c"}, args...)
	}
	n := m.block("ready")
	var exprs []string
	for _, a := range args {
		exprs = append(exprs, quote(a))
	}
	n.set("exec", list(exprs))
}

func (c *compose) object(b *block, name string, pairs []pair) {
	if len(pairs) > 0 {
		b.set(name, object(pairs))
	}
}

func (c *compose) list(b *block, name string, values []string) {
	if len(values) == 0 {
		return
	}
	var exprs []string
	for _, v := range values {
		exprs = append(exprs, quote(v))
	}
	b.set(name, list(exprs))
}

func texts(m map[string]string) []pair {
	var ps []pair
	for _, k := range slices.Sorted(maps.Keys(m)) {
		ps = append(ps, pair{k, quote(m[k])})
	}
	return ps
}

// size writes bytes in the largest unit that divides them.
func size(n int64) string {
	for _, u := range []struct {
		name string
		n    int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n%u.n == 0 {
			return strconv.FormatInt(n/u.n, 10) + u.name
		}
	}
	return strconv.FormatInt(n/1024, 10) + "KiB"
}
