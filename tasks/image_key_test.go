package tasks

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
)

// TestImageKey has each attribute enter the key exactly where it can change what
// is built.
func TestImageKey(t *testing.T) {
	store, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &Worker{
		Store: store, Scanner: buildcontext.New(store, 1), Platform: "linux/amd64",
		Registry: &registry.Client{Keychain: authn.DefaultKeychain, Store: store},
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	key := func(dockerfile string, change func(*Image)) cache.Key {
		p := Image{Context: dir, DockerfileInline: dockerfile, Reproducible: true}
		change(&p)
		r := cache.NewRecipe(KindImage)
		if err := w.Describe(t.Context(), graph.Spec{Params: p, Known: true}, r); err != nil {
			t.Fatal(err)
		}
		return r.Key()
	}
	const copies, runs = "FROM scratch\nCOPY f /\n", "FROM scratch\nCOPY f /\nRUN --mount=type=secret,id=s [\"/f\"]\n"
	secret := func(s SecretRef) func(*Image) {
		return func(p *Image) { p.Secrets = map[string]SecretRef{"s": s} }
	}
	for name, c := range map[string]struct {
		change      func(*Image)
		always, run bool // whether it enters the key of every image, of one with a RUN
	}{
		"labels":              {func(p *Image) { p.Labels = map[string]string{"a": "b"} }, true, true},
		"annotations":         {func(p *Image) { p.Annotations = map[string]string{"a": "b"} }, true, true},
		"reproducible":        {func(p *Image) { p.Reproducible = false }, true, true},
		"cache_to, inline":    {func(p *Image) { p.CacheTo = []buildkit.CacheOption{{Type: "inline"}} }, true, true},
		"network":             {func(p *Image) { p.Network = NetworkNone }, false, true},
		"shm_size":            {func(p *Image) { p.ShmSize = 1 << 20 }, false, true},
		"ulimits":             {func(p *Image) { p.Ulimits = []string{"nofile=1:2"} }, false, true},
		"add_hosts":           {func(p *Image) { p.AddHosts = map[string]string{"a": "10.0.0.1"} }, false, true},
		"secrets":             {secret(SecretRef{Name: "n", Env: "E"}), false, true},
		"secrets of no step":  {func(p *Image) { p.Secrets = map[string]SecretRef{"other": {Name: "n", Env: "E"}} }, false, false},
		"cache_to, elsewhere": {func(p *Image) { p.CacheTo = []buildkit.CacheOption{{Type: "local"}} }, false, false},
		"cache_from":          {func(p *Image) { p.CacheFrom = []buildkit.CacheOption{{Type: "local"}} }, false, false},
		"no_cache":            {func(p *Image) { p.NoCache = true }, false, false},
		"no_cache_filter":     {func(p *Image) { p.NoCacheFilter = []string{"s"} }, false, false},
		"pull":                {func(p *Image) { p.Pull = true }, false, false},
		"max_age":             {func(p *Image) { p.MaxAge = time.Hour }, false, false},
		"ssh":                 {func(p *Image) { p.SSH = map[string][]string{"default": nil} }, false, false},
		"entitlements":        {func(p *Image) { p.Entitlements = []string{"network.host"} }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			nothing := func(*Image) {}
			if got := key(copies, nothing) != key(copies, c.change); got != c.always {
				t.Errorf("without a RUN: in the key %v, want %v", got, c.always)
			}
			if got := key(runs, nothing) != key(runs, c.change); got != c.run {
				t.Errorf("with a RUN: in the key %v, want %v", got, c.run)
			}
		})
	}
	first := key(runs, secret(SecretRef{Name: "n", Env: "E"}))
	for name, c := range map[string]struct {
		ref  SecretRef
		same bool
	}{
		"another source":  {SecretRef{Name: "n", File: "/x"}, true},
		"another name":    {SecretRef{Name: "m", Env: "E"}, false},
		"another version": {SecretRef{Name: "n", Env: "E", Version: "2"}, false},
	} {
		if got := key(runs, secret(c.ref)) == first; got != c.same {
			t.Errorf("secret with %s: equal keys %v, want %v", name, got, c.same)
		}
	}
}
