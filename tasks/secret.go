package tasks

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"bottlebuild/cache"
	"bottlebuild/tasks/buildkit"
)

// SecretRef says where the value of a secret is to be had; exactly one of Env,
// File and Command is set. The value itself is in no parameters.
type SecretRef struct {
	Name    string   // as declared: "token"
	Env     string   `json:",omitempty"` // environment variable
	File    string   `json:",omitempty"` // absolute path
	Command []string `json:",omitempty"` // program and arguments, which prints it
	Version string   `json:",omitempty"` // enters keys, as Name does
}

// describeSecrets adds the secrets that steps ask for. What has one that no step
// asks for is the same without it.
func describeSecrets(p Image, a *buildkit.Analysis, r *cache.Recipe) {
	for _, id := range a.Secrets {
		if ref, ok := p.Secrets[id]; ok {
			describeSecret("secrets."+id, ref, r)
		}
	}
}

// describeSecret adds what of a secret enters keys: its name and its version.
func describeSecret(component string, ref SecretRef, r *cache.Recipe) {
	parts := []string{ref.Name}
	if ref.Version != "" {
		parts = append(parts, ref.Version)
	}
	r.AddList(component, parts)
}

// secrets returns the values of those secrets that the build can ask for.
func (w *Worker) secrets(ctx context.Context, p Image, a *buildkit.Analysis) (map[string][]byte, error) {
	values := map[string][]byte{}
	for id, ref := range p.Secrets {
		if !slices.Contains(a.Secrets, id) && !authorizes(id, a) {
			continue
		}
		value, err := w.Secret(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("secret.%s: %w", ref.Name, err)
		}
		values[id] = value
	}
	return values, nil
}

// authorizes tells the ids under which BuildKit asks for credentials of Git and
// HTTP sources (GIT_AUTH_TOKEN, HTTP_AUTH_HEADER_example.com and the like), which
// no step names.
func authorizes(id string, a *buildkit.Analysis) bool {
	return len(a.Git)+len(a.HTTP) > 0 && (strings.HasPrefix(id, "GIT_AUTH_") || strings.HasPrefix(id, "HTTP_AUTH_"))
}
