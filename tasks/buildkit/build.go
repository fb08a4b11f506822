package buildkit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/tonistiigi/fsutil"

	"bottlebuild/cache"
	"bottlebuild/tasks/layout"
	"bottlebuild/tasks/progress"
	"bottlebuild/tasks/registry"
)

// BuildRequest asks for an image.
type BuildRequest struct {
	Definition
	// Store takes the image, and has the linked ones.
	Store *cache.Store
	// Layouts have blobs of linked images that Store lacks.
	Layouts []*layout.Layout
	// Dirs are the directories by name of the context, those that
	// [Analysis.Dirs] lists at least. What an ignore file excludes must be
	// gone from them. BuildKit takes a file for unchanged if size, mode and
	// modification time are: the times must be derived from the content.
	Dirs map[string]fsutil.FS
	// SharedKey tells this build's directories from others' on the daemon, so
	// that only what has changed is sent: a hash of the node's address and the
	// main context's path.
	SharedKey string
	// Pins are the digests of the image references that are used, as
	// [Analysis] lists them: references in full, with tag. A reference that is
	// neither here nor carries a digest is an error.
	Pins map[string]string
	// Sources are the Git and HTTP sources, each with what it has to yield.
	Sources []Remote
	// NoCache runs every step.
	NoCache bool
	// NoCacheStages are the stages whose steps are run whatever is cached.
	NoCacheStages []string
	// Pull has the builder take images from registries rather than from an image
	// store of its own. What it has by the digests of Pins it need not ask for.
	Pull bool
	// Annotations go into the manifest, or where a prefix of the key says:
	// "index:", "manifest-descriptor:", "manifest[linux/arm64]:".
	Annotations map[string]string
	// Attest are attestations to make: options by type. The image itself is the
	// same with and without them; the output has them as blobs besides.
	Attest map[string]string
	// CacheFrom and CacheTo are build caches of the builder, besides its own.
	CacheFrom, CacheTo []CacheOption
	// Entitlements are privileges that steps may use: "network.host", "security.insecure".
	Entitlements []string
	// SSH are agents and keys for RUN --mount=type=ssh.
	SSH []SSHSource
	// Secrets are values for RUN --mount=type=secret by id.
	Secrets map[string][]byte
	// Keychain has the credentials for registries; nil: none.
	Keychain authn.Keychain
	// Progress takes BuildKit's progress; nil: it is dropped.
	Progress progress.Sink
	// NoPush makes the image come through the session even if the builder could
	// push it to this machine's loopback.
	NoPush bool
}

// buildTries is how often a build is tried whose daemon goes away.
const buildTries = 3

// Build builds an image and leaves it in the store: all of it, each blob whole.
//
// The output's Digest is that of the image's manifest or, for several
// platforms, of its index. Its Blobs are as of [registry.ReadImage]. Attrs has
// "mediaType", "platform" (several separated by commas) and, for one platform,
// "config", the image's ID. A step that fails and a mistake in the Dockerfile
// are a [*DockerfileError]; a daemon that cannot be reached wraps
// [ErrUnavailable].
func (b *Builder) Build(ctx context.Context, req BuildRequest) (cache.Output, error) {
	out, err := b.build(ctx, &req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			// What the daemon says of a build that was called off is noise.
			return cache.Output{}, fmt.Errorf("build %s: %w", req.File, cause)
		}
		return cache.Output{}, fmt.Errorf("build: %w", inDockerfile(err, &req.Definition))
	}
	return out, nil
}

func (b *Builder) build(ctx context.Context, req *BuildRequest) (cache.Output, error) {
	if err := req.check(); err != nil {
		return cache.Output{}, err
	}
	for try := 1; ; try++ {
		c := b.current()
		if c == nil {
			return cache.Output{}, errors.New("the builder is closed")
		}
		out, err := b.solve(ctx, c, req)
		if !gone(err) || ctx.Err() != nil {
			return out, err
		}
		if try == buildTries {
			return out, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
		if err := b.reconnect(ctx, c); err != nil {
			return out, err
		}
	}
}

// solve builds once.
func (b *Builder) solve(ctx context.Context, c *client.Client, req *BuildRequest) (cache.Output, error) {
	opts, err := req.frontendOpts()
	if err != nil {
		return cache.Output{}, err
	}
	req.buildOpts(opts)
	attestOpts(opts, req.Attest)
	attached, err := req.attached()
	if err != nil {
		return cache.Output{}, err
	}
	export, done, err := b.export(ctx, req)
	if err != nil {
		return cache.Output{}, err
	}
	defer done()
	opt := client.SolveOpt{
		Exports:       []client.ExportEntry{export},
		LocalMounts:   req.mounts(),
		OCIStores:     map[string]content.Store{storeID: contentStore{req.Store, req.Layouts}},
		SharedKey:     req.SharedKey,
		FrontendAttrs: opts,
		CacheImports:  cacheEntries(req.CacheFrom),
		CacheExports:  cacheEntries(req.CacheTo),
		Session:       attached,
		SourcePolicy:  sourcePolicy(req.Sources),

		AllowedEntitlements: req.entitlements(),
	}
	var meta map[string][]byte
	res, err := drained(ctx, req.Progress, func(ctx context.Context, ch chan *client.SolveStatus) (*client.SolveResponse, error) {
		return c.Build(ctx, opt, "bottlebuild", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
			res, err := req.translate(ctx, &frontendClient{
				Client: gw, store: req.Store, resolve: req.pinned, allow: req.hasDirs,
			})
			if err == nil {
				meta = res.Metadata
			}
			return res, err
		}, ch)
	})
	if err != nil {
		return cache.Output{}, err
	}
	top, err := cache.ParseDigest(res.ExporterResponse[exptypes.ExporterImageDigestKey])
	if err != nil {
		return cache.Output{}, fmt.Errorf("the builder did not say what it built: %w", err)
	}
	out, err := readBuilt(req.Store, top)
	if err == nil && len(req.Attest) > 0 {
		out, err = detach(req.Store, out)
	}
	if err == nil && req.Reproducible {
		err = checkRewritten(req.Store, out, req.epoch(), meta)
	}
	return out, err
}

// pinned gives a reference its digest; the daemon finds the config by it.
func (r *BuildRequest) pinned(_ context.Context, ref string, _ ocispecs.Platform) (digest.Digest, []byte, error) {
	name, err := FullName(ref)
	if err != nil {
		return "", nil, err
	}
	if text, ok := r.Pins[name]; ok {
		d, err := digest.Parse(text)
		if err != nil {
			return "", nil, fmt.Errorf("its pin %q: %w", text, err)
		}
		return d, nil, nil
	}
	if d, ok := DigestIn(name); ok {
		return digest.Digest(d), nil, nil
	}
	return "", nil, errors.New("it was given no digest before the build")
}

// hasDirs reports a directory that def reads and that was not given. The daemon
// would fail too, but in terms of its own.
func (r *BuildRequest) hasDirs(def *pb.Definition) error {
	ops, err := parseOps(def)
	if err != nil {
		return err
	}
	names := r.dirs()
	for _, op := range ops {
		mount, local := strings.CutPrefix(op.GetSource().GetIdentifier(), "local://")
		if name := names[mount]; local && r.Dirs[name] == nil {
			return fmt.Errorf("context %q: no directory was given", name)
		}
	}
	return nil
}

// mounts returns the directories as they are called towards the daemon.
func (r *BuildRequest) mounts() map[string]fsutil.FS {
	m := map[string]fsutil.FS{}
	for mount, name := range r.dirs() {
		if dir := r.Dirs[name]; dir != nil {
			m[mount] = dir
		}
	}
	return m
}

// export says how the image gets into the store. Where the daemon can reach our
// loopback, it pushes to a registry over the store, which takes a fifth of the
// time that the session does. done ends what export started.
func (b *Builder) export(ctx context.Context, req *BuildRequest) (e client.ExportEntry, done func(), err error) {
	attrs := req.exportAttrs()
	if err := annotate(attrs, req.Annotations); err != nil {
		return e, nil, err
	}
	if !b.SameHost || req.NoPush {
		attrs["tar"] = "false"
		return client.ExportEntry{Type: client.ExporterOCI, Attrs: attrs, OutputStore: contentStore{store: req.Store}}, func() {}, nil
	}
	server, err := registry.Serve(ctx, req.Store)
	if err != nil {
		return e, nil, err
	}
	maps.Copy(attrs, map[string]string{
		"name":              server.Addr() + "/" + server.Repository() + "/build",
		"push":              "true",
		"push-by-digest":    "true",
		"registry.insecure": "true",
		"store":             "false",
	})
	return client.ExportEntry{Type: client.ExporterImage, Attrs: attrs}, func() { server.Close() }, nil
}

func (r *BuildRequest) exportAttrs() map[string]string {
	attrs := map[string]string{
		"oci-mediatypes":    "true",
		"compression":       "zstd",
		"force-compression": "false",
	}
	if e := r.epoch(); e != "" {
		attrs["source-date-epoch"] = e
	}
	if r.Reproducible {
		attrs["rewrite-timestamp"] = "true"
	}
	return attrs
}

// drained calls build with a channel whose every status goes to sink. The
// channel is read to its end whatever happens: a full one would hang the build.
func drained(ctx context.Context, sink progress.Sink, build func(context.Context, chan *client.SolveStatus) (*client.SolveResponse, error)) (*client.SolveResponse, error) {
	ch := make(chan *client.SolveStatus)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := range ch {
			if sink != nil {
				sink.Status(s)
			}
		}
	}()
	res, err := build(ctx, ch)
	<-read
	return res, err
}
