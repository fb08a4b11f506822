package buildkit

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	"github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

// offline stands in for a daemon that can do everything and does nothing: it
// keeps the definitions that it is to solve.
type offline struct {
	opts     map[string]string
	platform ocispecs.Platform // of the builder

	mu     sync.Mutex
	solved []*pb.Definition
}

var errOffline = errors.New("this cannot be found out without a builder")

func (o *offline) Solve(_ context.Context, req client.SolveRequest) (*client.Result, error) {
	if req.Definition == nil {
		return nil, errOffline
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.solved = append(o.solved, req.Definition)
	res := client.NewResult()
	res.SetRef(emptyDir{})
	return res, nil
}

func (o *offline) ResolveSourceMetadata(context.Context, *pb.SourceOp, sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	return nil, errOffline
}

func (o *offline) ResolveImageConfig(context.Context, string, sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return "", "", nil, errOffline
}

// BuildOpts has a fixed session, so that equal Dockerfiles make equal definitions.
func (o *offline) BuildOpts() client.BuildOpts {
	return client.BuildOpts{
		Opts:      maps.Clone(o.opts),
		SessionID: "offline",
		Workers:   []client.WorkerInfo{{Platforms: []ocispecs.Platform{o.platform}}},
		LLBCaps:   everything().llb,
		Caps:      everything().gateway,
	}
}

// capabilities are read and never changed, so all builds share them: listing
// them takes longer than translating a small Dockerfile.
type capabilities struct{ llb, gateway apicaps.CapSet }

var everything = sync.OnceValue(func() capabilities {
	return capabilities{pb.Caps.CapSet(pb.Caps.All()), gateway.Caps.CapSet(gateway.Caps.All())}
})

func (o *offline) Inputs(context.Context) (map[string]llb.State, error) { return nil, nil }

func (o *offline) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, errOffline
}

func (o *offline) Warn(context.Context, digest.Digest, string, client.WarnOpts) error { return nil }
