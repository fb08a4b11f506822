package buildkit

import (
	"context"
	"fmt"
	"time"

	"github.com/moby/buildkit/client"
)

// PruneRequest says what of its state an embedded daemon is to drop.
type PruneRequest struct {
	All bool          // everything that no build uses
	Age time.Duration // else what was not used for so long; 0: nothing
}

// Usage returns how many bytes of state the embedded daemon at the socket has,
// and how many of these a prune would free. The error wraps [ErrUnavailable] if
// it does not run.
func Usage(ctx context.Context, socket string, req PruneRequest) (total, reclaimable int64, err error) {
	c, err := dialEmbedded(ctx, socket)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	records, err := c.DiskUsage(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("ask BuildKit for its disk usage: %w", err)
	}
	for _, r := range records {
		total += r.Size
		used := r.CreatedAt
		if r.LastUsedAt != nil {
			used = *r.LastUsedAt
		}
		if !r.InUse && (req.All || req.Age > 0 && time.Since(used) > req.Age) {
			reclaimable += r.Size
		}
	}
	return total, reclaimable, nil
}

// Prune makes the embedded daemon at the socket drop state and returns how many
// bytes that freed. The error is as of [Usage].
func Prune(ctx context.Context, socket string, req PruneRequest) (freed int64, err error) {
	c, err := dialEmbedded(ctx, socket)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if !req.All && req.Age == 0 {
		return 0, nil
	}
	opts := []client.PruneOption{client.PruneAll}
	if !req.All {
		opts = append(opts, client.WithKeepOpt(req.Age, 0, 0, 0))
	}
	records := make(chan client.UsageInfo)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for r := range records {
			freed += r.Size
		}
	}()
	err = c.Prune(ctx, records, opts...)
	close(records)
	<-done
	if err != nil {
		return freed, fmt.Errorf("prune BuildKit's state: %w", err)
	}
	return freed, nil
}

func dialEmbedded(ctx context.Context, socket string) (*client.Client, error) {
	address := "unix://" + socket
	if err := answers(ctx, address); err != nil {
		return nil, fmt.Errorf("the embedded BuildKit: %w: it does not run", ErrUnavailable)
	}
	c, err := client.New(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connect to BuildKit: %w", err)
	}
	return c, nil
}
