package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/graph"
	"bottlebuild/graph/history"
)

// cacheStatJSON is what cache stat --json prints.
type cacheStatJSON struct {
	Dir string `json:"dir"`
	*cache.Usage
	Unpacked    int64         `json:"unpacked_bytes"` // of images that the container backend has unpacked
	BuildKit    int64         `json:"buildkit_bytes"` // of the embedded BuildKit's state
	Total       int64         `json:"total_bytes"`
	MaxBytes    int64         `json:"max_bytes,omitempty"` // bound of the daily trim, for all but BuildKit's state
	MaxAge      float64       `json:"max_age_seconds,omitempty"`
	Reclaimable int64         `json:"reclaimable_bytes"` // what cache prune would free
	HitRates    []hitRateJSON `json:"hit_rates"`
}

// hitRateJSON sums up the runs of the last days.
type hitRateJSON struct {
	LastDays int     `json:"last_days"`
	Runs     int     `json:"runs"`
	Cached   int     `json:"cached"` // nodes that were found
	Ran      int     `json:"ran"`    // nodes whose work was done
	Rate     float64 `json:"rate"`   // of nodes, found among both
}

func newCacheStatCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "stat",
		Short: "Say what takes how much room, how often the cache helped, and what would go",
		Example: `  bottlebuild cache stat
  bottlebuild cache stat --json | jq .total_bytes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.look()
			if err != nil {
				return err
			}
			defer s.close()
			st, err := s.cacheStat(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(st)
			}
			return a.printStat(st)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the figures as JSON")
	return cmd
}

func (s *session) cacheStat(ctx context.Context) (*cacheStatJSON, error) {
	st := &cacheStatJSON{Dir: s.store.Dir()}
	var err error
	if st.Usage, err = s.store.Usage(ctx); err != nil {
		return nil, err
	}
	_, kept, err := s.kept(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range kept {
		st.Unpacked += k.Bytes
	}
	if st.BuildKit, err = treeSize(ctx, s.buildkitRoot()); err != nil {
		return nil, err
	}
	st.Total = st.EntryBytes + st.BlobBytes + st.Quarantine + st.StatTables + st.Temporary + st.Unpacked + st.BuildKit
	o, err := s.cacheBounds()
	if err != nil {
		return nil, err
	}
	st.MaxBytes, st.MaxAge = max(o.MaxSize, 0), o.MaxAge.Seconds()
	o.DryRun = true
	would, err := s.prune(ctx, o)
	if err != nil {
		return nil, err
	}
	st.Reclaimable = would.Total
	st.HitRates, err = s.hitRates(time.Now())
	return st, err
}

// hitRates sums up the runs of the last day, week and month, so far as they are
// on record.
func (a *app) hitRates(now time.Time) ([]hitRateJSON, error) {
	rates := []hitRateJSON{{LastDays: 1}, {LastDays: 7}, {LastDays: 30}}
	err := a.history().Runs("", func(r *history.Run) bool {
		for i := range rates {
			if h := &rates[i]; r.Started.After(now.AddDate(0, 0, -h.LastDays)) {
				h.Runs++
				h.Cached += r.Counts[string(graph.Cached)]
				h.Ran += r.Counts[string(graph.Ran)]
				h.Rate = float64(h.Cached) / float64(max(h.Cached+h.Ran, 1))
			}
		}
		return true
	})
	return rates, err
}

// treeSize returns the apparent size of the files below dir, which another
// process may be changing.
func treeSize(ctx context.Context, dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() {
			total += fi.Size()
		}
		return nil
	})
	return total, err
}

func (a *app) printStat(st *cacheStatJSON) error {
	size := func(n int64) string { return units.BytesSize(float64(n)) }
	rows := [][]string{{"WHAT", "HOW MANY", "SIZE"}}
	for _, kind := range slices.Sorted(maps.Keys(st.Kinds)) {
		k := st.Kinds[kind]
		rows = append(rows, []string{kind, strconv.Itoa(k.Entries), size(k.Bytes)})
	}
	rows = append(rows, []string{"all blobs, each once", strconv.Itoa(st.Blobs), size(st.BlobBytes)},
		[]string{"all entries", strconv.Itoa(st.Entries), size(st.EntryBytes)})
	for _, r := range []struct {
		what string
		n    int64
	}{
		{"unpacked images", st.Unpacked}, {"BuildKit's state", st.BuildKit}, {"tables of files", st.StatTables},
		{"quarantine", st.Quarantine}, {"being written", st.Temporary},
	} {
		if r.n > 0 {
			rows = append(rows, []string{r.what, "", size(r.n)})
		}
	}
	rows = append(rows, []string{"total", "", size(st.Total)})
	if err := printTable(a.stdout, rows); err != nil {
		return err
	}
	rows = [][]string{{"\nLAST", "RUNS", "NODES FOUND", "NODES RUN", "FOUND"}}
	for _, h := range st.HitRates {
		days := strconv.Itoa(h.LastDays) + " days"
		if h.LastDays == 1 {
			days = "day"
		}
		rows = append(rows, []string{days, strconv.Itoa(h.Runs), strconv.Itoa(h.Cached), strconv.Itoa(h.Ran),
			fmt.Sprintf("%.0f%%", 100*h.Rate)})
	}
	if err := printTable(a.stdout, rows); err != nil {
		return err
	}
	bounds := "no bound of size"
	if st.MaxBytes > 0 {
		bounds = "at most " + size(st.MaxBytes)
	}
	if st.MaxAge > 0 {
		bounds += fmt.Sprintf(", nothing unused for over %d days", int(st.MaxAge/86400))
	}
	_, err := fmt.Fprintf(a.stdout, "\n%s\nkept: %s\ncache prune would free %s\n", st.Dir, bounds, size(st.Reclaimable))
	return err
}
