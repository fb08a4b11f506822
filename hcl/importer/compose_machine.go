package importer

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/types"

	"bottlebuild/internal/lazyregexp"
)

// serviceKeys are those that image, bottle and machine read.
var serviceKeys = []string{
	"build", "container_name", "cpus", "deploy", "env_file", "environment", "healthcheck", "image", "mem_limit", "platform", "ports",
	"profiles", "restart", "secrets", "user", "volumes", "working_dir",
}

const maxSourceFile = 4 << 20 // bytes, of a machine's file

var (
	dnsLabel = lazyregexp.New(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	userName = lazyregexp.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)
	platform = lazyregexp.New(`^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$`)
	envName  = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// machine writes a service as a machine.
func (c *compose) machine(m *block, s types.ServiceConfig) {
	if dnsLabel.MatchString(s.ContainerName) {
		m.set("name", quote(s.ContainerName))
	} else if s.ContainerName != "" {
		c.left(m, s, "container_name "+s.ContainerName+" is left out: a machine's name has up to 63 lower-case letters, digits and hyphens")
	}
	c.resources(m, s)
	c.environment(m, s)
	user, group, _ := strings.Cut(s.User, ":")
	switch {
	case s.User == "":
	case userName.MatchString(user):
		m.set("user", quote(user))
		if group != "" {
			c.left(m, s, "the group "+group+" is left out: a machine runs with the groups of its user")
		}
	default:
		c.left(m, s, "the user "+s.User+" is left out: it is no name of one")
	}
	switch {
	case s.WorkingDir == "":
	case filepath.IsAbs(s.WorkingDir), placeholder.MatchString(s.WorkingDir):
		m.set("workdir", c.text(s.WorkingDir))
	default:
		c.left(m, s, "working_dir "+s.WorkingDir+" is left out: it is no absolute path")
	}
	if s.NetworkMode != "none" && !c.explained {
		c.explained = true
		m.comment("A service of compose reaches every network; a machine reaches nothing without a\nblock such as network { allow_hosts = [\"api.example.com\"] }, or { open = true }.")
	}
	c.ports(m, s)
	c.volumes(m, s)
	c.ready(m, s)
	handled := serviceKeys
	if s.NetworkMode == "none" {
		handled = append(slices.Clone(handled), "network_mode")
	}
	c.rest(m, s, "", c.service(s.Name), handled, keysOf[types.ServiceConfig]())
}

// resources writes processors, memory, and when a machine starts again.
func (c *compose) resources(m *block, s types.ServiceConfig) {
	cpus, memory, restart := float64(s.CPUS), int64(s.MemLimit), s.Restart
	if d := s.Deploy; d != nil {
		if l := d.Resources.Limits; l != nil {
			cpus, memory = max(cpus, float64(l.NanoCPUs)), max(memory, int64(l.MemoryBytes))
		}
		if p := d.RestartPolicy; p != nil {
			restart = map[string]string{"": "always", "any": "always", "on-failure": "on-failure"}[p.Condition]
		}
		raw, _ := c.service(s.Name)["deploy"].(map[string]any)
		part := func(name string) map[string]any { p, _ := raw[name].(map[string]any); return p }
		limits, _ := part("resources")["limits"].(map[string]any)
		handled := []string{"resources", "restart_policy"}
		if d.Replicas != nil && *d.Replicas == 1 {
			handled = append(handled, "replicas")
		}
		c.rest(m, s, "deploy", raw, handled, keysOf[types.DeployConfig]())
		c.rest(m, s, "deploy.resources", part("resources"), []string{"limits"}, keysOf[types.Resources]())
		c.rest(m, s, "deploy.resources.limits", limits, []string{"cpus", "memory"}, keysOf[types.Resource]())
		c.rest(m, s, "deploy.restart_policy", part("restart_policy"), []string{"condition"}, keysOf[types.RestartPolicy]())
	}
	if cpus > 0 {
		m.set("cpus", strconv.Itoa(max(1, int(cpus+0.99))))
	}
	if memory > 0 {
		const mib = 1 << 20
		m.set("memory", quote(size((memory+mib-1)/mib*mib)))
	}
	policy, attempts, _ := strings.Cut(restart, ":")
	switch policy {
	case "always", "unless-stopped":
		m.set("restart", `"always"`)
	case "on-failure":
		m.set("restart", `"on-failure"`)
		if attempts != "" {
			c.left(m, s, "the limit of "+attempts+" restarts is left out")
		}
	}
}

// environment writes env from env_file and environment, and the secrets.
func (c *compose) environment(m *block, s types.ServiceConfig) {
	values := map[string]string{}
	for _, f := range s.EnvFiles {
		path := c.relative(f.Path)
		src, err := c.open(f.Path)
		var read map[string]string
		if err == nil {
			read, err = parseEnv(src, f.Format == "raw")
		}
		if err != nil {
			c.left(m, s, "env_file "+path+" is left out: "+err.Error())
			continue
		}
		for k, v := range read {
			values[k] = quote(v)
		}
		c.left(m, s, "the variables of "+path+" stand in env; those that are secret belong in secrets")
	}
	for _, k := range slices.Sorted(maps.Keys(s.Environment)) {
		if v := s.Environment[k]; v != nil {
			values[k] = c.text(*v)
		} else if values[k] == "" {
			c.left(m, s, "the variable "+k+" was taken from the environment; give it a value, or a secret")
		}
	}
	var env []pair
	for _, k := range slices.Sorted(maps.Keys(values)) {
		if !envName.MatchString(k) {
			c.left(m, s, "the variable "+k+" is left out: it has no name of one")
			continue
		}
		env = append(env, pair{k, values[k]})
	}
	c.object(m, "env", env)
	var secrets []pair
	for _, mount := range s.Secrets {
		target := mount.Target
		if target == "" {
			target = mount.Source
		}
		k := strings.Map(func(r rune) rune {
			if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
				return r
			}
			return '_'
		}, strings.ToUpper(filepath.Base(target)))
		name := c.secret(mount.Source)
		switch {
		case name == "":
			c.left(m, s, "the secret "+mount.Source+" is left out: it has neither a file nor a variable of the environment")
		case values[k] != "" || !envName.MatchString(k) || slices.ContainsFunc(secrets, func(p pair) bool { return p.key == k }):
			c.left(m, s, "the secret "+mount.Source+" is left out: machines have secrets as variables, and "+k+" cannot be one, or is one already")
		default:
			secrets = append(secrets, pair{k, "secret." + name})
			c.left(m, s, "the secret "+mount.Source+" is the variable "+k+", and no file in /run/secrets; the image's own command does not get it")
		}
	}
	c.object(m, "secrets", secrets)
}

// parseEnv reads an env_file. Variables in it are not replaced by the environment's.
func parseEnv(src []byte, raw bool) (map[string]string, error) {
	if raw {
		values := map[string]string{}
		for line := range strings.Lines(string(src)) {
			k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), "=")
			if ok && !strings.HasPrefix(k, "#") {
				values[k] = v
			}
		}
		return values, nil
	}
	return dotenv.ParseWithLookup(bytes.NewReader(src), func(string) (string, bool) { return "", true })
}

func (c *compose) ports(m *block, s types.ServiceConfig) {
	for _, p := range s.Ports {
		host, err := strconv.ParseUint(p.Published, 10, 16)
		isVariable := onlyPlaceholder.MatchString(p.Published)
		if p.Protocol != "" && p.Protocol != "tcp" || err != nil && !isVariable || p.Target == 0 {
			c.left(m, s, fmt.Sprintf("the port %s:%d/%s is left out: a machine publishes single TCP ports of the host", p.Published, p.Target, p.Protocol))
			continue
		}
		n := m.block("port")
		if isVariable {
			n.set("host", c.text(p.Published))
		} else {
			n.set("host", strconv.FormatUint(host, 10))
		}
		n.set("guest", strconv.FormatUint(uint64(p.Target), 10))
	}
}

func (c *compose) volumes(m *block, s types.ServiceConfig) {
	for _, v := range s.Volumes {
		source := c.relative(v.Source)
		shared := func(comment, attr, value string) {
			n := m.block("volume")
			if comment != "" {
				n.comment(comment)
			}
			n.set(attr, quote(value))
			n.set("guest", quote(v.Target))
			if v.ReadOnly {
				n.set("readonly", "true")
			}
		}
		if v.Type == types.VolumeTypeVolume && v.Source != "" {
			shared(c.warn(c.base+": service "+s.Name, "the volume %s is kept for this machine alone; one that several share is a directory of the host", v.Source), "name", v.Source)
			continue
		}
		if v.Type != types.VolumeTypeBind {
			c.left(m, s, fmt.Sprintf("the volume %s at %s is left out: machines share directories of the host, and keep their own disk", v.Source, v.Target))
			continue
		}
		info, err := c.stat(source)
		if err != nil || info.IsDir() {
			shared("", "host", source)
			continue
		}
		if !info.Mode().IsRegular() || !filepath.IsLocal(source) || info.Size() > maxSourceFile {
			c.left(m, s, fmt.Sprintf("the file %s at %s is left out: machines share directories, and get copies of regular files below the bottle file's directory of up to 4 MiB", source, v.Target))
			continue
		}
		n := m.block("file " + quote(v.Target))
		if !v.ReadOnly {
			n.comment(c.warn(c.base+": service "+s.Name, "%s is a copy of %s: what is written to it stays in the machine", v.Target, source))
		}
		n.set("source", quote(source))
		if info.Mode()&0o111 != 0 {
			n.set("mode", `"0755"`)
		}
	}
}

// stat tells what a path of the host is, through the root if it is below it.
func (c *compose) stat(path string) (os.FileInfo, error) {
	if c.root != nil && filepath.IsLocal(path) {
		return c.root.Stat(path)
	}
	return os.Stat(path)
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
	n.set("exec", list(c.texts(args)))
	if h.Interval != nil && *h.Interval > 0 {
		n.set("interval", quote(duration(time.Duration(*h.Interval))))
	}
	// Compose gives up after so many attempts; a machine after a time.
	interval, retries := 30*time.Second, uint64(3)
	if h.Interval != nil {
		interval = time.Duration(*h.Interval)
	}
	if h.Retries != nil {
		retries = min(*h.Retries, 1000)
	}
	limit := interval * time.Duration(retries)
	if h.StartPeriod != nil {
		limit += time.Duration(*h.StartPeriod)
	}
	if limit > 30*time.Second { // which is the default
		n.set("timeout", quote(duration(min(limit, 24*time.Hour))))
	}
	raw, _ := c.service(s.Name)["healthcheck"].(map[string]any)
	c.rest(n, s, "healthcheck", raw, []string{"test", "interval", "retries", "start_period", "disable"}, keysOf[types.HealthCheckConfig]())
}

// duration writes a time in seconds, or in milliseconds if it has to.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return strconv.FormatInt(max(1, d.Milliseconds()), 10) + "ms"
}
