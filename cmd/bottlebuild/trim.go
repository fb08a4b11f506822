package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/docker/go-units"
	"golang.org/x/sys/unix"

	"bottlebuild/cache"
)

// The cache bounds itself, as Go's and BuildKit's do: what was not used for
// trimAge goes, and what is over a part of the disk.
const (
	trimAge      = 30 * 24 * time.Hour
	trimDiskPart = 10 // one in so many bytes of the disk
	// trimTime is how long a run waits for the daily trim at most. What a very
	// large cache has left over is done piece by piece by the runs that follow, each
	// of which waits for trimMore.
	trimTime = 10 * time.Second
	trimMore = 2 * time.Second
)

// cacheBounds returns the bounds of the cache, as the environment has them.
func (a *app) cacheBounds() (cache.PruneOptions, error) {
	o := cache.PruneOptions{MaxSize: -1, MaxAge: trimAge}
	var err error
	switch text := a.env("BOTTLEBUILD_CACHE_MAX_AGE"); text {
	case "":
	case "none":
		o.MaxAge = 0
	default:
		if o.MaxAge, err = parseAge(text); err != nil {
			return o, usageError("BOTTLEBUILD_CACHE_MAX_AGE %q: %w, or none", text, err)
		}
	}
	switch text := a.env("BOTTLEBUILD_CACHE_MAX_SIZE"); text {
	case "":
		var fs unix.Statfs_t
		if err := unix.Statfs(a.cacheDir(), &fs); err == nil {
			o.MaxSize = int64(fs.Blocks) * int64(fs.Bsize) / trimDiskPart //nolint:unconvert // Bsize has other types elsewhere
		}
	case "none":
	default:
		if o.MaxSize, err = parseSize(text); err != nil {
			return o, usageError("BOTTLEBUILD_CACHE_MAX_SIZE %q: %w, or none", text, err)
		}
	}
	return o, nil
}

// trim brings the cache within its bounds, once a day. It is no reason for a run
// to fail.
func (s *session) trim(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	limit, piecemeal := trimMore, s.store.Trimming()
	if !piecemeal {
		due, err := s.store.Daily("trim")
		if err != nil || !due {
			return
		}
		limit = trimTime
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	o, err := s.cacheBounds()
	var freed int64
	if err == nil && !piecemeal {
		var out *pruneJSON
		out, err = s.prune(limited, o)
		if out != nil {
			freed = out.Total
		}
		// It cannot even be looked through in that time.
		piecemeal = err != nil && limited.Err() != nil && ctx.Err() == nil
		limited, cancel = context.WithTimeout(ctx, trimMore)
		defer cancel()
	}
	if piecemeal && (err == nil || ctx.Err() == nil) {
		var r *cache.PruneReport
		r, _, err = s.store.Trim(limited, o)
		freed += r.Freed
	}
	const worthTelling = 1 << 20
	if freed >= worthTelling && !s.rawProgress {
		fmt.Fprintf(s.stderr, "bottlebuild: the cache is kept within its bounds: %s freed; see: bottlebuild cache stat\n", units.BytesSize(float64(freed)))
	}
	if err != nil && !errors.Is(err, cache.ErrBusy) && ctx.Err() == nil && !s.rawProgress {
		fmt.Fprintf(s.stderr, "bottlebuild: trim the cache: %v\n", err)
	}
}
