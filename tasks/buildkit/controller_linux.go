package buildkit

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins/snapshots/native"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay/overlayutils"
	"github.com/moby/buildkit/cache/remotecache"
	inlinecache "github.com/moby/buildkit/cache/remotecache/inline"
	localcache "github.com/moby/buildkit/cache/remotecache/local"
	registrycache "github.com/moby/buildkit/cache/remotecache/registry"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/cmd/buildkitd/config"
	"github.com/moby/buildkit/control"
	"github.com/moby/buildkit/executor/oci"
	"github.com/moby/buildkit/frontend"
	dockerfile "github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway"
	"github.com/moby/buildkit/frontend/gateway/forwarder"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/solver"
	"github.com/moby/buildkit/solver/bboltcachestorage"
	"github.com/moby/buildkit/solver/llbsolver/cdidevices"
	"github.com/moby/buildkit/util/db/boltutil"
	"github.com/moby/buildkit/util/disk"
	"github.com/moby/buildkit/util/entitlements"
	"github.com/moby/buildkit/util/network/cniprovider"
	"github.com/moby/buildkit/util/network/netproviders"
	"github.com/moby/buildkit/util/resolver"
	"github.com/moby/buildkit/worker"
	"github.com/moby/buildkit/worker/base"
	"github.com/moby/buildkit/worker/runc"
	bolt "go.etcd.io/bbolt"
	"tags.cncf.io/container-device-interface/pkg/cdi"
)

// newDaemon puts BuildKit's controller together over one worker, as buildkitd
// does with its OCI worker.
func newDaemon(ctx context.Context, cfg DaemonConfig) (*control.Controller, error) {
	sessions, err := session.NewManager()
	if err != nil {
		return nil, fmt.Errorf("session manager: %w", err)
	}
	w, err := newWorker(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	workers := &worker.Controller{}
	if err := workers.Add(w); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	cacheStore, err := bboltcachestorage.NewStore(filepath.Join(cfg.Root, "cache.db"))
	if err != nil {
		return nil, fmt.Errorf("build cache: %w", err)
	}
	history, err := boltutil.SafeOpen(filepath.Join(cfg.Root, "history.db"), 0o600, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true,
	})
	if err != nil {
		return nil, fmt.Errorf("build history: %w", err)
	}
	gatewayFrontend, err := gateway.NewGatewayFrontend(workers.Infos(), nil)
	if err != nil {
		return nil, fmt.Errorf("gateway frontend: %w", err)
	}
	hosts := resolver.NewRegistryConfig(nil)
	return control.NewController(control.Opt{
		SessionManager:   sessions,
		WorkerController: workers,
		Frontends: map[string]frontend.Frontend{
			"dockerfile.v0": forwarder.NewGatewayForwarder(workers.Infos(), dockerfile.Build),
			"gateway.v0":    gatewayFrontend,
		},
		ResolveCacheExporterFuncs: map[string]remotecache.ResolveCacheExporterFunc{
			"registry": registrycache.ResolveCacheExporterFunc(sessions, hosts),
			"local":    localcache.ResolveCacheExporterFunc(sessions),
			"inline":   inlinecache.ResolveCacheExporterFunc(),
		},
		ResolveCacheImporterFuncs: map[string]remotecache.ResolveCacheImporterFunc{
			"registry": registrycache.ResolveCacheImporterFunc(sessions, w.ContentStore(), hosts),
			"local":    localcache.ResolveCacheImporterFunc(sessions),
		},
		// The daemon is this user's own: what a build may use, its bottle file says.
		Entitlements:   []string{entitlements.EntitlementNetworkHost.String(), entitlements.EntitlementSecurityInsecure.String()},
		CacheManager:   solver.NewCacheManager(ctx, "local", cacheStore, worker.NewCacheResultStorage(workers)),
		HistoryDB:      history,
		HistoryConfig:  &config.HistoryConfig{MaxEntries: new(historyEntries)},
		CacheStore:     cacheStore,
		LeaseManager:   w.LeaseManager(),
		ContentStore:   w.ContentStore(),
		GarbageCollect: w.GarbageCollect,
		GracefulStop:   ctx.Done(),
	})
}

// historyEntries is how many builds the daemon remembers.
const historyEntries int64 = 20

func newWorker(ctx context.Context, cfg DaemonConfig) (*base.Worker, error) {
	ociRuntime, err := findRuntime(cfg.Runtime)
	if err != nil {
		return nil, err
	}
	// A daemon without device support is not an option: ListWorkers reads the
	// device cache. This one reads no directory that has anything in it.
	devices, err := cdi.NewCache(cdi.WithSpecDirs(filepath.Join(cfg.Root, "cdi")), cdi.WithAutoRefresh(false))
	if err != nil {
		return nil, err
	}
	// RUN shares the host's network: a network of its own needs CNI plugins,
	// which few hosts have.
	network := netproviders.Opt{Mode: "host", CNI: cniprovider.Opt{Root: cfg.Root}}
	opt, err := runc.NewWorkerOpt(cfg.Root, snapshotter(cfg.Root), rootless(), oci.ProcessSandbox, nil, nil,
		network, nil, ociRuntime, "", false, nil, "", "", cdidevices.NewManager(devices, nil))
	if err != nil {
		return nil, err
	}
	opt.GCPolicy, err = gcPolicy(cfg)
	if err != nil {
		return nil, err
	}
	opt.BuildkitVersion = client.BuildkitVersion{
		Package: buildkitModule, Version: compiledIn().buildkit, DockerfileVersion: compiledIn().dockerfile,
	}
	opt.RegistryHosts = resolver.NewRegistryConfig(nil)
	return base.NewWorker(ctx, opt)
}

// snapshotter is overlayfs where the file system under root can do it, else
// plain copies.
func snapshotter(root string) runc.SnapshotterFactory {
	if overlayutils.Supported(root) != nil {
		return runc.SnapshotterFactory{Name: "native", New: native.NewSnapshotter}
	}
	return runc.SnapshotterFactory{Name: "overlayfs", New: func(dir string) (snapshots.Snapshotter, error) {
		return overlay.NewSnapshotter(dir, overlay.AsynchronousRemove)
	}}
}

// gcPolicy bounds the daemon's cache. First goes what is easy to get again,
// then the oldest, and, if that is not enough, BuildKit's internal records.
func gcPolicy(cfg DaemonConfig) ([]client.PruneInfo, error) {
	limit := cfg.MaxBytes
	if limit == 0 {
		stat, err := disk.GetDiskStat(cfg.Root)
		if err != nil {
			return nil, err
		}
		limit = stat.Total / 10
	}
	return []client.PruneInfo{
		{Filter: []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"}, MaxUsedSpace: limit / 2},
		{MaxUsedSpace: limit},
		{All: true, MaxUsedSpace: limit},
	}, nil
}
