package buildkit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/session/sshforward/sshprovider"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"
)

// NetworkHost is the network that needs an entitlement, which asking for it implies.
const NetworkHost = "host"

// CacheOption is a place for a build cache: "registry", "local", "inline" or
// another type that the builder knows, with the attributes of
// https://docs.docker.com/build/cache/backends/.
type CacheOption struct {
	Type  string
	Attrs map[string]string `json:",omitempty"`
}

// Inline tells whether a cache that is written there is part of the image.
func (c CacheOption) Inline() bool { return c.Type == "inline" }

// SSHSource is an agent, or keys that stand for one, by the id that a step names.
type SSHSource struct {
	ID    string
	Paths []string // of an agent's socket, or of keys; at least one
}

// stepOpts adds what steps find around them, as the frontend takes it.
func (d *Definition) stepOpts(opts map[string]string) {
	if d.Network != "" {
		opts["force-network-mode"] = d.Network
	}
	if d.ShmSize > 0 {
		opts["shm-size"] = strconv.FormatInt(d.ShmSize, 10)
	}
	if len(d.Ulimits) > 0 {
		opts["ulimit"] = strings.Join(d.Ulimits, ",")
	}
	var hosts []string
	for _, name := range slices.Sorted(maps.Keys(d.AddHosts)) {
		hosts = append(hosts, name+"="+d.AddHosts[name])
	}
	if len(hosts) > 0 {
		opts["add-hosts"] = strings.Join(hosts, ",")
	}
}

// buildOpts adds what matters to a build and not to what it means.
func (r *BuildRequest) buildOpts(opts map[string]string) {
	if r.NoCache {
		opts["no-cache"] = ""
	} else if len(r.NoCacheStages) > 0 {
		opts["no-cache"] = strings.Join(r.NoCacheStages, ",")
	}
	if r.Pull {
		opts["image-resolve-mode"] = pb.AttrImageResolveModeForcePull
	}
}

// attached returns what the daemon may ask this process for.
func (r *BuildRequest) attached() ([]session.Attachable, error) {
	as := []session.Attachable{authProvider(r.Keychain), secretsprovider.FromMap(r.Secrets)}
	if len(r.SSH) == 0 {
		return as, nil
	}
	var agents []sshprovider.AgentConfig
	for _, s := range r.SSH {
		if len(s.Paths) == 0 || s.Paths[0] == "" { // sshprovider would look into the environment
			return nil, fmt.Errorf("ssh %q: it has no agent and no key", s.ID)
		}
		agents = append(agents, sshprovider.AgentConfig{ID: s.ID, Paths: slices.Clone(s.Paths)})
	}
	ssh, err := sshprovider.NewSSHAgentProvider(agents)
	if err != nil {
		return nil, fmt.Errorf("ssh: %w", err)
	}
	return append(as, ssh), nil
}

func (r *BuildRequest) entitlements() []string {
	es := slices.Clone(r.Entitlements)
	if host := entitlements.EntitlementNetworkHost.String(); r.Network == NetworkHost && !slices.Contains(es, host) {
		es = append(es, host)
	}
	return es
}

func cacheEntries(options []CacheOption) []client.CacheOptionsEntry {
	var entries []client.CacheOptionsEntry
	for _, o := range options {
		attrs := map[string]string{} // the client adds to it
		maps.Copy(attrs, o.Attrs)
		entries = append(entries, client.CacheOptionsEntry{Type: o.Type, Attrs: attrs})
	}
	return entries
}

// annotate adds annotations to the attributes of an exporter.
func annotate(attrs, annotations map[string]string) error {
	for key, value := range annotations {
		attr, err := annotationAttr(key)
		if err != nil {
			return err
		}
		attrs[attr] = value
	}
	return nil
}

// annotationAttr turns "[TYPE[\[PLATFORM\]]:]KEY" into the exporter's
// "annotation[-TYPE[\[PLATFORM\]]].KEY".
func annotationAttr(key string) (string, error) {
	attr := "annotation." + key
	if where, name, ok := strings.Cut(key, ":"); ok {
		attr = "annotation-" + where + "." + name
	}
	if _, ok, err := exptypes.ParseAnnotationKey(attr); err != nil || !ok {
		return "", fmt.Errorf("annotation %q: it is KEY, or TYPE:KEY where TYPE is manifest, index, manifest-descriptor or index-descriptor", key)
	}
	return attr, nil
}

// CheckAnnotation says what is wrong with the key of an annotation.
func CheckAnnotation(key string) error {
	_, err := annotationAttr(key)
	return err
}
