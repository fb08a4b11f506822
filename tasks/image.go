package tasks

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/tonistiigi/fsutil"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/tasks/buildcontext"
	"bottlebuild/tasks/buildkit"
)

// maxDockerfile bounds a Dockerfile, in bytes.
const maxDockerfile = 4 << 20

// describeImage adds what a build reads: the Dockerfile, the base images by
// digest, and of each directory what the Dockerfile can reach.
func (w *Worker) describeImage(ctx context.Context, p Image, s graph.Spec, r *cache.Recipe) error {
	r.AddList("platforms", w.platforms(p))
	if p.Ref != "" {
		d, err := w.resolveImage(ctx, p.Ref)
		if err != nil {
			return err
		}
		r.AddDigest("ref", d)
		w.resolutions.use(Pin{PinImage, fullName(p.Ref)}, s.Address)
		return nil
	}
	def, complete, err := w.definition(ctx, p, s.Inputs)
	if err != nil {
		return err
	}
	r.Add("tool.buildkit", buildkit.Version())
	r.AddDigest("dockerfile", cache.DigestOf(def.Dockerfile))
	r.Add("target", p.Target)
	r.AddMap("args", p.Args)
	r.AddMap("labels", p.Labels)
	r.AddMap("annotations", p.Annotations)
	for _, c := range p.CacheTo {
		if c.Inline() {
			r.Add("cache_to", c.Type)
		}
	}
	if err := w.describeAttest(ctx, p, s.Address, r); err != nil {
		return err
	}
	r.Add("reproducible", strconv.FormatBool(p.Reproducible))
	for name, c := range p.Contexts {
		switch image, ok := s.Inputs[c.Image]; {
		case ok:
			if err := w.needConfigs(ctx, image); err != nil {
				return err
			}
			r.AddDigest(contextComponent(name), image.Digest)
		case c.Ref != "":
			r.Add(contextComponent(name), c.Ref)
		case c.Layout != nil:
			r.AddDigest(contextComponent(name), def.Contexts[name].Image.Digest)
		}
	}
	if !complete { // what the Dockerfile reads depends on the linked images
		return w.describeOutline(ctx, p, s.Address, def, r)
	}
	a, err := w.analyze(ctx, def)
	if err != nil {
		return err
	}
	r.AddDigest("translation", a.Digest)
	for _, b := range a.Images {
		r.Add("base."+b.Ref, b.Digest)
		w.resolutions.use(Pin{PinImage, b.Ref}, s.Address)
	}
	describeSecrets(p, a, r)
	describeSteps(p, a, r)
	for _, src := range a.Git {
		r.Add("source."+src.URL, src.Checksum)
		w.resolutions.use(Pin{PinGit, gitName(src)}, s.Address)
	}
	for _, src := range a.HTTP {
		r.Add("source."+src.URL, src.Checksum)
		w.resolutions.use(Pin{PinHTTP, src.URL}, s.Address)
	}
	trees, err := w.scan(ctx, p, a)
	if err != nil {
		return err
	}
	w.absences.set(s.Address, missingCopies(p, a, trees))
	for name, t := range trees {
		r.AddDigest(contextComponent(name), t.Digest)
	}
	return nil
}

// contextComponent names the component that says what a context is.
func contextComponent(context string) string {
	if context == buildkit.MainContext {
		return "context"
	}
	return "contexts." + context
}

func (w *Worker) checkImage(p Image, s graph.Spec, entry *cache.Entry) graph.Verdict {
	v := w.needsBuild(p, s, entry)
	if v.Decision != graph.Hit {
		v.Notes = w.absences.of(s.Address)
	}
	return v
}

func (w *Worker) needsBuild(p Image, s graph.Spec, entry *cache.Entry) graph.Verdict {
	again := func(cause graph.Cause, component, text string) graph.Verdict {
		return graph.Verdict{Decision: graph.Run, Reasons: []graph.Reason{{Cause: cause, Component: component, Text: text}}}
	}
	switch {
	case p.NoCache:
		return again(CauseAlways, "no_cache", "no_cache is set")
	case len(p.NoCacheFilter) > 0:
		return again(CauseAlways, "no_cache_filter", "no_cache_filter is set")
	case expired(p, entry):
		return again(CauseExpired, "max_age", fmt.Sprintf("expired: it is older than %s", p.MaxAge))
	}
	return graph.Default(s, entry)
}

// runImage builds the image, or takes it from its registry, into the store.
func (w *Worker) runImage(ctx context.Context, p Image, work graph.Work) (cache.Output, error) {
	if p.Ref != "" {
		d, err := w.resolveImage(ctx, p.Ref)
		if err != nil {
			return cache.Output{}, err
		}
		return w.Registry.Pull(ctx, p.Ref, d, w.platforms(p)[0], w.sink(work))
	}
	for _, c := range p.Contexts {
		if _, err := w.needInput(ctx, work, c.Image); err != nil {
			return cache.Output{}, err
		}
	}
	def, _, err := w.definition(ctx, p, work.Inputs)
	if err != nil {
		return cache.Output{}, err
	}
	a, err := w.analyze(ctx, def)
	if err != nil {
		return cache.Output{}, err
	}
	trees, err := w.scan(ctx, p, a)
	if err != nil {
		return cache.Output{}, err
	}
	req := buildkit.BuildRequest{
		Definition: def,
		Store:      w.Store,
		Dirs:       map[string]fsutil.FS{},
		SharedKey:  cache.DigestOf([]byte(work.Address + "\x00" + p.Context)).Hex(),
		Pins:       map[string]string{},
		NoCache:    p.NoCache,

		NoCacheStages: p.NoCacheFilter,
		Pull:          p.Pull,
		Annotations:   p.Annotations,
		CacheFrom:     p.CacheFrom,
		CacheTo:       p.CacheTo,
		Entitlements:  p.Entitlements,

		Keychain: w.Registry.Keychain,
		Progress: w.sink(work),
	}
	// What has expired is not to come out of the builder's own cache again.
	if entry, err := w.Store.Get(work.Key); err == nil && expired(p, entry) {
		req.NoCache = true
	}
	if req.Attest, err = w.attest(ctx, p); err != nil {
		return cache.Output{}, err
	}
	if req.SSH, err = w.sshSources(p, a); err != nil {
		return cache.Output{}, err
	}
	if req.Secrets, err = w.secrets(ctx, p, a); err != nil {
		return cache.Output{}, err
	}
	layouts, done, err := openLayouts(p)
	if err != nil {
		return cache.Output{}, err
	}
	defer done()
	req.Layouts = layouts
	for _, b := range a.Images {
		req.Pins[b.Ref] = b.Digest
	}
	req.Sources = slices.Concat(a.Git, a.HTTP)
	// A file that changes while it is sent ends the build with that as its error.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for name, t := range trees {
		dir, err := t.FS()
		if err != nil {
			return cache.Output{}, err
		}
		dir.Fail = cancel
		req.Dirs[name] = dir
		// The listing explains a later miss; nothing needs it to be there.
		if _, err := w.Store.PutBytes(t.Listing()); err != nil {
			return cache.Output{}, err
		}
	}
	b, err := w.Builder(ctx)
	if err != nil {
		return cache.Output{}, err
	}
	out, err := b.Build(ctx, req)
	if err != nil {
		return cache.Output{}, err
	}
	return out, w.saveAnalysis(def, a)
}

// definition reads the Dockerfile. It is complete if the linked images, whose
// configs are part of what a Dockerfile means, are all among the inputs.
func (w *Worker) definition(ctx context.Context, p Image, inputs graph.Inputs) (def buildkit.Definition, complete bool, err error) {
	def = buildkit.Definition{
		File: p.Dockerfile, Dockerfile: []byte(p.DockerfileInline), Target: p.Target, Args: p.Args, Labels: p.Labels,
		Platforms: p.Platforms, Contexts: map[string]buildkit.Context{}, Reproducible: p.Reproducible,
		Network: p.Network, ShmSize: p.ShmSize, Ulimits: p.Ulimits, AddHosts: p.AddHosts,
	}
	def.Main = p.Remote
	if p.Dockerfile == "" {
		def.File = "dockerfile_inline"
	} else if p.Remote != "" {
		if def.Dockerfile, err = w.remoteDockerfile(ctx, p); err != nil {
			return def, false, fmt.Errorf("read Dockerfile: %w", err)
		}
	} else if def.Dockerfile, err = readBounded(p.Dockerfile, maxDockerfile); err != nil {
		return def, false, fmt.Errorf("read Dockerfile: %w", err)
	}
	complete = true
	for name, c := range p.Contexts {
		switch {
		case c.Dir != "":
			def.Contexts[name] = buildkit.Context{Dir: true}
		case c.Ref != "":
			def.Contexts[name] = buildkit.Context{Ref: c.Ref}
		case c.Layout != nil:
			image, err := w.layoutImage(*c.Layout)
			if err != nil {
				return def, false, fmt.Errorf("context %q: %w", name, err)
			}
			def.Contexts[name] = buildkit.Context{Image: &cache.Output{Digest: image}}
		default:
			image, ok := inputs[c.Image]
			complete = complete && ok
			def.Contexts[name] = buildkit.Context{Image: &image}
		}
	}
	return def, complete, nil
}

func readBounded(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", name)
	}
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is over %d bytes", name, limit)
	}
	return b, err
}

// contextDir returns the directory that a context is, and the Dockerfile whose own
// ignore file counts in it, if any does.
func (p Image) contextDir(name string) (dir, dockerfile string) {
	if name == buildkit.MainContext {
		return p.Context, p.Dockerfile
	}
	return p.Contexts[name].Dir, ""
}

// scan takes the digests of what the build reads of each directory.
func (w *Worker) scan(ctx context.Context, p Image, a *buildkit.Analysis) (map[string]*buildcontext.Tree, error) {
	trees := make(map[string]*buildcontext.Tree, len(a.Dirs))
	for name, dir := range a.Dirs {
		at, dockerfile := p.contextDir(name)
		req := buildcontext.Request{Dir: at, Follow: dir.Paths}
		var err error
		if req.Ignore, err = buildcontext.IgnoreFile(req.Dir, dockerfile); err != nil {
			return nil, err
		}
		if trees[name], err = w.Scanner.Scan(ctx, req); err != nil {
			return nil, err
		}
	}
	return trees, nil
}
