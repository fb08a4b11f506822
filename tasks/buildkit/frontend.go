package buildkit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	fstypes "github.com/tonistiigi/fsutil/types"

	"bottlebuild/cache"
)

// resolveImage returns the digest of an image reference and the config for one
// platform. A config of nil makes the daemon look it up by that digest.
type resolveImage func(ctx context.Context, ref string, platform ocispecs.Platform) (digest.Digest, []byte, error)

// frontendClient is what the translation of a Dockerfile talks to. It runs in
// this process, both to analyse and to build, over the same answers: this type
// answers from the store for linked images, says that there is no .dockerignore,
// since the directories that callers give have it applied, and gives every image
// reference its digest. What is left goes to the embedded client: a daemon's, or
// [offline].
type frontendClient struct {
	client.Client
	store   *cache.Store
	resolve resolveImage
	outline bool // linked images that are not there are taken for empty ones
	// allow reports what is wrong with a definition that is about to be solved.
	allow func(*pb.Definition) error
}

// Solve answers for definitions that only read an ignore file.
func (c *frontendClient) Solve(ctx context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Definition != nil {
		read, err := readsIgnoreFile(req.Definition)
		if err != nil {
			return nil, err
		}
		if read {
			res := client.NewResult()
			res.SetRef(emptyDir{})
			return res, nil
		}
		if err := c.allow(req.Definition); err != nil {
			return nil, err
		}
	}
	return c.Client.Solve(ctx, req)
}

const ignoreFile = dockerui.DefaultDockerignoreName

// readsIgnoreFile tells the definitions with which ignore files are read from
// all others: one local source, which follows the ignore file alone.
func readsIgnoreFile(def *pb.Definition) (bool, error) {
	ops, err := parseOps(def)
	if err != nil {
		return false, err
	}
	if len(ops) != 1 {
		return false, nil
	}
	src := ops[0].GetSource()
	if !strings.HasPrefix(src.GetIdentifier(), "local://") {
		return false, nil
	}
	follow, err := followPaths(src)
	return err == nil && len(follow) == 1 && follow[0] == ignoreFile &&
		strings.HasSuffix(src.Attrs[pb.AttrSharedKeyHint], "-"+ignoreFile), err
}

// parseOps returns the operations of def less its last entry, which only names
// the result.
func parseOps(def *pb.Definition) ([]*pb.Op, error) {
	var ops []*pb.Op
	for _, b := range def.Def {
		op := &pb.Op{}
		if err := op.UnmarshalVT(b); err != nil {
			return nil, fmt.Errorf("parse build definition: %w", err)
		}
		if op.Op != nil {
			ops = append(ops, op)
		}
	}
	return ops, nil
}

// followPaths returns the paths that a local source is limited to, nil for none.
func followPaths(src *pb.SourceOp) (paths []string, err error) {
	v, ok := src.Attrs[pb.AttrFollowPaths]
	if !ok {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(v), &paths); err != nil {
		return nil, fmt.Errorf("parse followed paths of %s: %w", src.Identifier, err)
	}
	return paths, nil
}

// ResolveImageConfig implements client.Client. The reference that it returns
// carries a digest.
func (c *frontendClient) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	if opt.OCILayoutOpt != nil {
		return c.resolveLinked(ref, opt.OCILayoutOpt.Platform)
	}
	platform := hostPlatform()
	if opt.ImageOpt != nil && opt.ImageOpt.Platform != nil {
		platform = platforms.Normalize(*opt.ImageOpt.Platform)
	}
	dgst, config, err := c.resolve(ctx, ref, platform)
	if err != nil {
		return "", "", nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", "", nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	pinned, err := reference.WithDigest(named, dgst)
	if err != nil {
		return "", "", nil, fmt.Errorf("resolve %s: %w", ref, err)
	}
	if config != nil {
		return pinned.String(), dgst, config, nil
	}
	return c.Client.ResolveImageConfig(ctx, pinned.String(), opt)
}

// resolveLinked answers for an image of the store, whose ref is a made-up name
// and its digest.
func (c *frontendClient) resolveLinked(ref string, platform *ocispecs.Platform) (string, digest.Digest, []byte, error) {
	named, err := reference.Parse(ref)
	if err != nil {
		return "", "", nil, fmt.Errorf("linked image %s: %w", ref, err)
	}
	digested, ok := named.(reference.Digested)
	if !ok {
		return "", "", nil, fmt.Errorf("linked image %s: it has no digest", ref)
	}
	want := hostPlatform()
	if platform != nil {
		want = *platform
	}
	if c.store == nil && c.outline {
		return ref, digested.Digest(), []byte("{}"), nil
	}
	config, err := imageConfig(c.store, digested.Digest(), want)
	if errors.Is(err, cache.ErrMiss) && c.outline {
		config, err = []byte("{}"), nil
	}
	if err != nil {
		return "", "", nil, fmt.Errorf("linked image %s: %w", ref, err)
	}
	return ref, digested.Digest(), config, nil
}

// hostPlatform is Linux on this machine's architecture: where nothing else is
// said, builds are for that.
func hostPlatform() ocispecs.Platform {
	p := platforms.DefaultSpec()
	p.OS, p.OSVersion, p.OSFeatures = "linux", "", nil
	return platforms.Normalize(p)
}

// emptyDir is a directory without anything in it.
type emptyDir struct{}

func (emptyDir) ReadFile(_ context.Context, req client.ReadRequest) ([]byte, error) {
	return nil, &fs.PathError{Op: "open", Path: req.Filename, Err: fs.ErrNotExist}
}

func (emptyDir) StatFile(_ context.Context, req client.StatRequest) (*fstypes.Stat, error) {
	return nil, &fs.PathError{Op: "stat", Path: req.Path, Err: fs.ErrNotExist}
}

func (emptyDir) ReadDir(context.Context, client.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, nil
}

func (emptyDir) Evaluate(context.Context) error { return nil }

func (emptyDir) ToState() (llb.State, error) { return llb.Scratch(), nil }
