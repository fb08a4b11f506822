package buildkit

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"

	"bottlebuild/cache"
)

// AnalyzeRequest asks what a Dockerfile reads.
type AnalyzeRequest struct {
	Definition
	// BuildPlatform is the builder's own platform; empty: Linux on this
	// machine's architecture.
	BuildPlatform string
	// Store has the linked images' manifests and configs; their layers need not
	// be there. It may be nil if no context is an image.
	Store *cache.Store
	// Resolve returns the digest that an image reference stands for, the same
	// one for every platform, and the JSON of the image's config for platform:
	// a base image's environment and triggers change what a Dockerfile means.
	// ref is in full: "docker.io/library/node:22". It is called once for each
	// reference that is used and platform, several at once.
	Resolve func(ctx context.Context, ref, platform string) (digest string, config []byte, err error)
	// Outline takes linked images that are not there for empty ones: what the
	// analysis names is then right but for what their triggers add.
	Outline bool
}

// Analysis is what a build can read.
type Analysis struct {
	// Dirs are the directories that are read, by name of the context,
	// [MainContext] among them. One that is missing here is not read at all.
	Dirs map[string]Dir
	// Copies are the paths in Dirs that must be there.
	Copies []Copy
	// Images are the references that are used, each with its digest, by name.
	Images []BaseImage
	// Git and HTTP are the other sources, sorted.
	Git, HTTP []Remote
	// Secrets and SSH are the ids that steps ask for, sorted.
	Secrets, SSH []string
	// Runs tells whether any step runs a program.
	Runs bool
	// Digest stands for the whole translation: every step, every source but the
	// bytes of directories, and the image's config. A comment in the Dockerfile
	// does not change it. Together with the content of Dirs and of Git and HTTP
	// sources without checksum it decides what is built.
	Digest cache.Digest
}

// Dir says what of a directory a build can read.
type Dir struct {
	// Paths are slash-separated relative paths and patterns in the sense of filepath.Match,
	// with what is below them and what symbolic links in them lead to, as
	// fsutil's FollowPaths takes them. Nil: everything.
	Paths []string
}

// BaseImage is an image that a Dockerfile refers to.
type BaseImage struct {
	Ref    string // in full: "docker.io/library/node:22"
	Digest string
}

// Remote is a source that the builder fetches.
type Remote struct {
	URL string // of Git, with "#REF" or "#REF:DIRECTORY"
	// Source is what BuildKit calls it; HTTP tells it from a Git repository.
	Source string
	HTTP   bool `json:",omitempty"`
	// Checksum is the commit, or the digest of the content; empty: what it
	// yields is not fixed. Given tells that the Dockerfile says so.
	Checksum string `json:",omitempty"`
	Given    bool   `json:",omitempty"`
}

// Pinned tells whether the name alone says what a source yields.
func (r Remote) Pinned() bool {
	_, fragment, _ := strings.Cut(r.URL, "#")
	ref, _, _ := strings.Cut(fragment, ":")
	return r.Given || !r.HTTP && isCommit(ref)
}

func isCommit(ref string) bool { return gitutil.IsCommitSHA(ref) }

// Unresolved returns the analysis less what remote sources stood for.
func (a *Analysis) Unresolved() *Analysis {
	u := *a
	clear := func(rs []Remote) []Remote {
		rs = slices.Clone(rs)
		for i := range rs {
			if !rs[i].Given {
				rs[i].Checksum = ""
			}
		}
		return rs
	}
	u.Git, u.HTTP = clear(a.Git), clear(a.HTTP)
	return &u
}

// Analyze translates a Dockerfile as a build does, without a builder, and
// returns what the steps of its target read. A mistake in the Dockerfile is a
// [*DockerfileError].
func Analyze(ctx context.Context, req AnalyzeRequest) (*Analysis, error) {
	if err := req.check(); err != nil {
		return nil, fmt.Errorf("analyze %s: %w", req.File, err)
	}
	opts, err := req.frontendOpts()
	if err != nil {
		return nil, fmt.Errorf("analyze %s: %w", req.File, err)
	}
	o := &offline{opts: opts, platform: hostPlatform()}
	if req.BuildPlatform != "" {
		if o.platform, err = platforms.Parse(req.BuildPlatform); err != nil {
			return nil, fmt.Errorf("analyze %s: build platform: %w", req.File, err)
		}
	}
	images := &imageRecord{resolve: req.Resolve, digests: map[string]string{}}
	res, err := req.translate(ctx, &frontendClient{
		Client: o, store: req.Store, resolve: images.get, outline: req.Outline, allow: func(*pb.Definition) error { return nil },
	})
	if err != nil {
		return nil, fmt.Errorf("analyze: %w", inDockerfile(err, &req.Definition))
	}
	a := &Analysis{Dirs: map[string]Dir{}, Images: images.list()}
	if err := a.addSources(o.solved, req.dirs()); err != nil {
		return nil, fmt.Errorf("analyze %s: %w", req.File, err)
	}
	if err := a.addCopies(o.solved, req.dirs(), req.Dockerfile); err != nil {
		return nil, fmt.Errorf("analyze %s: %w", req.File, err)
	}
	a.Digest = translationDigest(o.solved, res, images.list())
	return a, nil
}

// imageRecord keeps what references were resolved to.
type imageRecord struct {
	resolve func(ctx context.Context, ref, platform string) (string, []byte, error)
	mu      sync.Mutex
	digests map[string]string // by reference
}

func (r *imageRecord) get(ctx context.Context, ref string, p ocispecs.Platform) (digest.Digest, []byte, error) {
	name, err := FullName(ref)
	if err != nil {
		return "", nil, err
	}
	text, config, err := r.resolve(ctx, name, platforms.Format(p))
	if err != nil {
		return "", nil, err
	}
	d, err := digest.Parse(text)
	if err != nil {
		return "", nil, fmt.Errorf("digest %q: %w", text, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.digests[name]; ok && old != text {
		return "", nil, fmt.Errorf("it has digest %s for one platform and %s for another; use the digest of its index", old, text)
	}
	r.digests[name] = text
	return d, config, nil
}

func (r *imageRecord) list() []BaseImage {
	var images []BaseImage
	for _, name := range slices.Sorted(maps.Keys(r.digests)) {
		images = append(images, BaseImage{name, r.digests[name]})
	}
	return images
}

// FullName returns a reference with registry and tag: the form in which two
// spellings of one image are equal.
func FullName(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", err
	}
	return reference.TagNameOnly(named).String(), nil
}

// DigestIn returns the digest that a reference carries: "sha256:…".
func DigestIn(ref string) (string, bool) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", false
	}
	d, ok := named.(reference.Digested)
	if !ok {
		return "", false
	}
	return d.Digest().String(), true
}

// addSources adds what the operations of defs read. mounts are the names of
// contexts by what they are mounted as.
func (a *Analysis) addSources(defs []*pb.Definition, mounts map[string]string) error {
	secrets, ssh := map[string]bool{}, map[string]bool{}
	git, http := map[Remote]bool{}, map[Remote]bool{}
	for _, def := range defs {
		ops, err := parseOps(def)
		if err != nil {
			return err
		}
		for _, op := range ops {
			a.Runs = a.Runs || op.GetExec() != nil
			for _, m := range op.GetExec().GetMounts() {
				if id := m.GetSecretOpt().GetID(); id != "" {
					secrets[id] = true
				}
				if opt := m.GetSSHOpt(); opt != nil {
					ssh[cmp.Or(opt.GetID(), sshforward.DefaultID)] = true
				}
			}
			for _, s := range op.GetExec().GetSecretenv() {
				secrets[s.ID] = true
			}
			src := op.GetSource()
			scheme, rest, _ := strings.Cut(src.GetIdentifier(), "://")
			switch scheme {
			case "local":
				if err := a.addDir(mounts[rest], src); err != nil {
					return err
				}
			case "git":
				url := cmp.Or(src.Attrs[pb.AttrFullRemoteURL], rest)
				if _, ref, ok := strings.Cut(rest, "#"); ok && !strings.Contains(url, "#") {
					url += "#" + ref
				}
				sum := src.Attrs[pb.AttrGitChecksum]
				git[Remote{URL: url, Source: src.Identifier, Checksum: sum, Given: sum != ""}] = true
			case "http", "https":
				sum := src.Attrs[pb.AttrHTTPChecksum]
				http[Remote{URL: src.Identifier, Source: src.Identifier, HTTP: true, Checksum: sum, Given: sum != ""}] = true
			}
		}
	}
	a.Secrets, a.SSH = slices.Sorted(maps.Keys(secrets)), slices.Sorted(maps.Keys(ssh))
	a.Git, a.HTTP = sortedRemotes(git), sortedRemotes(http)
	return nil
}

// addDir adds what a local source reads to what others read of that directory.
func (a *Analysis) addDir(name string, src *pb.SourceOp) error {
	if name == "" {
		return fmt.Errorf("the build reads %s, which is none of its contexts", src.Identifier)
	}
	paths, err := followPaths(src)
	if err != nil {
		return err
	}
	dir, seen := a.Dirs[name]
	all := len(paths) == 0 || seen && dir.Paths == nil
	for i, p := range paths {
		paths[i] = strings.Trim(p, "/")
		all = all || paths[i] == "" || paths[i] == "."
	}
	if all {
		a.Dirs[name] = Dir{}
		return nil
	}
	paths = append(paths, dir.Paths...)
	slices.Sort(paths)
	a.Dirs[name] = Dir{slices.Compact(paths)}
	return nil
}

func sortedRemotes(m map[Remote]bool) []Remote {
	return slices.SortedFunc(maps.Keys(m), func(a, b Remote) int {
		return cmp.Or(cmp.Compare(a.URL, b.URL), cmp.Compare(a.Checksum, b.Checksum))
	})
}

// translationDigest hashes the results of defs, each of which is the digest of
// a graph of operations, and the configs of the image that they make.
func translationDigest(defs []*pb.Definition, res *client.Result, images []BaseImage) cache.Digest {
	r := cache.NewRecipe("dockerfile")
	var heads []string
	for _, def := range defs {
		if n := len(def.Def); n > 0 {
			heads = append(heads, digest.FromBytes(def.Def[n-1]).String())
		}
	}
	slices.Sort(heads)
	r.AddList("operations", heads)
	for name, value := range res.Metadata {
		if !strings.HasPrefix(name, exptypes.ExporterImageConfigKey) {
			continue
		}
		r.Add(name, string(value))
	}
	for _, i := range images {
		r.Add("image."+i.Ref, i.Digest)
	}
	return cache.Digest(r.Key())
}
