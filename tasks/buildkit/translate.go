package buildkit

import (
	"context"
	"fmt"
	"maps"
	"path"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/frontend/dockerfile/linter"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// translate turns a Dockerfile into build steps and has c solve them, once per
// platform. It is what BuildKit's own frontend does (frontend/dockerfile/builder)
// for a Dockerfile that is at hand, less what nobody asks it for: other
// frontends, queries, and bills of materials.
func (d *Definition) translate(ctx context.Context, c client.Client) (*client.Result, error) {
	ui, err := dockerui.NewClient(c)
	if err != nil {
		return nil, err
	}
	opt := dockerfile2llb.ConvertOpt{
		Config: ui.Config, Client: ui, MetaResolver: c,
		SourceMap: llb.NewSourceMap(nil, path.Base(d.File), "Dockerfile", d.Dockerfile),
		Warn: func(rule, description, url, msg string, at []parser.Range) {
			d.warn(ctx, c, client.WarnOpts{
				Level: 1, SourceInfo: d.sourceInfo(), Range: pbRanges(at), Detail: [][]byte{[]byte(description)}, URL: url,
			}, rule, msg)
		},
	}
	built, err := ui.Build(ctx, func(ctx context.Context, platform *ocispecs.Platform, i int) (_ *dockerui.BuildResult, err error) {
		opt := opt
		opt.BuildArgs = maps.Clone(opt.BuildArgs)
		opt.TargetPlatform = platform
		if i > 0 {
			opt.Warn = nil // it has been said
		}
		if d.mainIsImage() {
			if opt.Client, err = withMainImage(ctx, ui, c, platform); err != nil {
				return nil, err
			}
		}
		image, err := dockerfile2llb.Dockerfile2LLB(ctx, d.Dockerfile, opt)
		if err != nil {
			return nil, err
		}
		def, err := image.State.Marshal(ctx)
		if err != nil {
			return nil, fmt.Errorf("marshal build steps: %w", err)
		}
		res, err := c.Solve(ctx, client.SolveRequest{Definition: def.ToPB(), CacheImports: ui.CacheImports})
		if err != nil {
			return nil, err
		}
		ref, err := res.SingleRef()
		if err != nil {
			return nil, err
		}
		return &dockerui.BuildResult{Reference: ref, Image: image.Image, BaseImage: image.BaseImage, Epoch: image.Epoch}, nil
	})
	if err != nil {
		return nil, d.withSource(err)
	}
	return built.Finalize()
}

// mainImage gives a frontend its main context as an input, which is how dockerui
// takes one that is neither a directory nor a URL.
type mainImage struct {
	client.Client
	files llb.State
}

// withMainImage returns ui with the image that is its context of the name
// [MainContext] as its main one, for a platform.
func withMainImage(ctx context.Context, ui *dockerui.Client, c client.Client, platform *ocispecs.Platform) (*dockerui.Client, error) {
	if platform == nil && len(ui.BuildPlatforms) > 0 {
		platform = &ui.BuildPlatforms[0]
	}
	named, err := ui.NamedContext(MainContext, dockerui.ContextOpt{Platform: platform})
	if err != nil {
		return nil, err
	}
	files, _, err := named.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("load context: %w", err)
	}
	return dockerui.NewClient(mainImage{c, *files})
}

func (m mainImage) Inputs(context.Context) (map[string]llb.State, error) {
	return map[string]llb.State{MainContext: m.files}, nil
}

// warn reports what the linter found. That it fails is no reason to fail.
func (d *Definition) warn(ctx context.Context, c client.Client, opts client.WarnOpts, rule, msg string) {
	line := 0
	if len(opts.Range) > 0 {
		line = int(opts.Range[0].Start.Line)
	}
	_ = c.Warn(ctx, digest.FromBytes(d.Dockerfile), linter.LintFormatShort(rule, msg, line), opts)
}

// withSource attaches to a mistake its place in a form that survives the way
// through a daemon.
func (d *Definition) withSource(err error) error {
	for _, ranges := range locations(err) {
		err = errdefs.WithSource(err, &errdefs.Source{Info: d.sourceInfo(), Ranges: pbRanges(ranges)})
	}
	return err
}

func (d *Definition) sourceInfo() *pb.SourceInfo {
	return &pb.SourceInfo{Data: d.Dockerfile, Filename: path.Base(d.File), Language: "Dockerfile"}
}

func pbRanges(ranges []parser.Range) []*pb.Range {
	var out []*pb.Range
	for _, r := range ranges {
		out = append(out, &pb.Range{
			Start: &pb.Position{Line: int32(r.Start.Line), Character: int32(r.Start.Character)},
			End:   &pb.Position{Line: int32(r.End.Line), Character: int32(r.End.Character)},
		})
	}
	return out
}
