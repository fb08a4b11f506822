package tasks

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/buildkit"
)

// The networks of build steps.
const (
	NetworkSandbox = "sandbox"
	NetworkNone    = "none"
	NetworkHost    = buildkit.NetworkHost
)

// describeSteps adds what steps find around them, if there is one that runs a
// program. Others are the same whatever it is.
func describeSteps(p Image, a *buildkit.Analysis, r *cache.Recipe) {
	if !a.Runs {
		return
	}
	if p.Network != "" {
		r.Add("network", p.Network)
	}
	if p.ShmSize > 0 {
		r.Add("shm_size", strconv.FormatInt(p.ShmSize, 10))
	}
	for _, u := range p.Ulimits {
		name, limits, _ := strings.Cut(u, "=")
		r.Add("ulimits."+name, limits)
	}
	r.AddMap("add_hosts", p.AddHosts)
}

// expired tells whether a result is older than the image allows.
func expired(p Image, entry *cache.Entry) bool {
	return p.MaxAge > 0 && entry != nil && time.Since(entry.Created) > p.MaxAge
}

// sshSources returns the agents and keys that the build asks for.
func (w *Worker) sshSources(p Image, a *buildkit.Analysis) ([]buildkit.SSHSource, error) {
	var sources []buildkit.SSHSource
	for _, id := range a.SSH {
		paths, ok := p.SSH[id]
		if !ok {
			continue // a step may do without, and says so if it cannot
		}
		if len(paths) == 0 {
			if w.SSHAgent == "" {
				return nil, fmt.Errorf("ssh %q: there is no SSH agent: start one and set SSH_AUTH_SOCK, or name a key, as in ssh = [\"%s=PATH\"]", id, id)
			}
			paths = []string{w.SSHAgent}
		}
		sources = append(sources, buildkit.SSHSource{ID: id, Paths: paths})
	}
	return sources, nil
}

// describeAttest adds the attestations: an image that has them is made, and them
// with it. What is made of an image does not depend on them.
func (w *Worker) describeAttest(ctx context.Context, p Image, address string, r *cache.Recipe) error {
	attest, err := w.attest(ctx, p)
	if err != nil {
		return err
	}
	for kind, options := range attest {
		r.Add("attest."+kind, options)
	}
	if scanner := buildkit.Scanner(p.Attest); scanner != "" {
		w.resolutions.use(Pin{PinImage, fullName(scanner)}, address)
	}
	return nil
}

// attest returns the attestations to make, with the scanner by its digest.
func (w *Worker) attest(ctx context.Context, p Image) (map[string]string, error) {
	scanner := buildkit.Scanner(p.Attest)
	if scanner == "" {
		return p.Attest, nil
	}
	d, err := w.resolveImage(ctx, scanner)
	if err != nil {
		return nil, fmt.Errorf("scanner of the bill of materials (attest = [\"type=sbom\"]): %w; name one that can be had with: type=sbom,generator=REF", err)
	}
	pinned := fullName(scanner)
	if !hasDigest(pinned) {
		pinned += "@" + d.String()
	}
	attest := maps.Clone(p.Attest)
	options := slices.DeleteFunc(strings.Split(attest[buildkit.SBOM], ","), func(o string) bool {
		return o == "" || strings.HasPrefix(o, "generator=")
	})
	attest[buildkit.SBOM] = strings.Join(append(options, "generator="+pinned), ",")
	return attest, nil
}
