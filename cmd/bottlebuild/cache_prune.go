package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/tasks/backend"
	"bottlebuild/tasks/buildkit"
)

// pruneJSON is what cache prune --json prints.
type pruneJSON struct {
	DryRun bool `json:"dry_run"`
	*cache.PruneReport
	// Unpacked are images that the container backend had unpacked.
	Unpacked prunedJSON `json:"unpacked"`
	BuildKit prunedJSON `json:"buildkit"`
	Total    int64      `json:"total_freed"` // bytes, of all
}

type prunedJSON struct {
	Removed int    `json:"removed,omitempty"`
	Freed   int64  `json:"freed"`
	Held    int    `json:"held,omitempty"`
	Note    string `json:"note,omitempty"`
}

type pruneFlags struct {
	maxSize, maxAge   string
	all, dryRun, json bool
	remote            string
	shared            cacheFlags // for --remote
}

func newCachePruneCommand(a *app) *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Make the cache smaller: what was used least recently goes first",
		Long: `Prune removes what nothing refers to, what was not used for longer than --max-age,
and then what was used least recently until --max-size holds. Without either,
the bounds are those of the daily trim, see: bottlebuild cache --help.

What a run uses at the moment and what a machine needs stays, whatever the
bounds. Packs that were removed are made again by the next run that wants them.
The state of the embedded BuildKit is pruned by age too, if it runs; it has
bounds of its own for size.

With --remote it is the records of a shared cache that go, and what only they need;
tags that are not bottlebuild's stay, and so do records that were used within the
last hour, unless --all is given. A record was last used when it was made, or when a snapshot index
was written that names it. The registry frees the room when it collects its garbage.`,
		Example: `  bottlebuild cache prune --dry-run
  bottlebuild cache prune --max-size 20GB --max-age 14d
  bottlebuild cache prune --all
  bottlebuild cache prune --remote registry.example.com/acme --max-age 60d --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.pruneCache(cmd.Context(), &f) },
	}
	fl := cmd.Flags()
	filledFlag(cmd, &f.maxSize, "max-size", "keep at most this much, as in 20GB or 512MiB")
	filledFlag(cmd, &f.maxAge, "max-age", "drop what was not used for this long, as in 14d or 12h")
	fl.BoolVar(&f.all, "all", false, "drop everything that is not needed now")
	fl.BoolVar(&f.dryRun, "dry-run", false, "only say what would go")
	fl.BoolVar(&f.json, "json", false, "print what was done as JSON")
	filledFlag(cmd, &f.remote, "remote", "prune the shared cache at this `REGISTRY/PREFIX`, not this machine's")
	filledFlag(cmd, &f.shared.scope, "cache-scope", "with --remote, whose results: trusted or pr ($"+envCacheScope+")")
	return cmd
}

func (a *app) pruneCache(ctx context.Context, f *pruneFlags) error {
	o := cache.PruneOptions{MaxSize: -1, All: f.all, DryRun: f.dryRun}
	if f.all && f.maxSize+f.maxAge != "" {
		return usageError("cache prune: --all leaves nothing for --max-size or --max-age to bound; give one or the other")
	}
	var err error
	if f.maxSize != "" {
		if o.MaxSize, err = parseSize(f.maxSize); err != nil {
			return usageError("--max-size %q: %w", f.maxSize, err)
		}
	}
	if f.maxAge != "" {
		if o.MaxAge, err = parseAge(f.maxAge); err != nil {
			return usageError("--max-age %q: %w", f.maxAge, err)
		}
	}
	if f.remote != "" {
		return a.pruneRemote(ctx, f, remote.PruneOptions{MaxSize: o.MaxSize, MaxAge: o.MaxAge, All: o.All, DryRun: o.DryRun})
	}
	if f.shared.scope != "" {
		return usageError("cache prune: --cache-scope says whose results of a shared cache; give --remote too")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	if !f.all && f.maxSize == "" && f.maxAge == "" {
		if o, err = a.cacheBounds(); err != nil {
			return err
		}
		o.DryRun = f.dryRun
	}
	out, err := s.prune(ctx, o)
	if errors.Is(err, cache.ErrBusy) {
		return fmt.Errorf("%w; try again when it is done", err)
	}
	if out != nil && f.json {
		return errors.Join(err, a.printJSON(out))
	}
	if err != nil {
		return err
	}
	return a.printPrune(out)
}

// prune drops what is over the bounds: first unpacked images, which are made
// again most easily, then entries with their blobs.
func (s *session) prune(ctx context.Context, o cache.PruneOptions) (*pruneJSON, error) {
	out := &pruneJSON{DryRun: o.DryRun, PruneReport: &cache.PruneReport{}}
	keeper, kept, err := s.kept(ctx)
	if err != nil {
		return out, err
	}
	drop := func(k backend.Kept) error {
		if k.Needed != "" {
			out.Unpacked.Held++
			o.Reserved += k.Bytes
			return nil
		}
		gone := true
		if !o.DryRun {
			if gone, err = keeper.Drop(ctx, k.Name); err != nil {
				return err
			}
		}
		if !gone {
			out.Unpacked.Held++
			o.Reserved += k.Bytes
			return nil
		}
		out.Unpacked.Removed++
		out.Unpacked.Freed += k.Bytes
		return nil
	}
	var spare []backend.Kept
	for _, k := range kept {
		if o.All || o.MaxAge > 0 && time.Since(k.Used) > o.MaxAge {
			if err := drop(k); err != nil {
				return out, err
			}
			continue
		}
		spare = append(spare, k)
	}
	if o.MaxSize >= 0 && len(spare) > 0 {
		u, err := s.store.Usage(ctx)
		if err != nil {
			return out, err
		}
		size := u.BlobBytes + u.EntryBytes + o.Reserved
		for _, k := range spare {
			size += k.Bytes
		}
		slices.SortFunc(spare, func(a, b backend.Kept) int { return cmp.Or(a.Used.Compare(b.Used), cmp.Compare(a.Name, b.Name)) })
		for len(spare) > 0 && size > o.MaxSize {
			before := out.Unpacked.Freed
			if err := drop(spare[0]); err != nil {
				return out, err
			}
			size -= out.Unpacked.Freed - before
			spare = spare[1:]
		}
	}
	for _, k := range spare {
		o.Reserved += k.Bytes
	}
	if out.PruneReport, err = s.store.Prune(ctx, o); err != nil {
		return out, err
	}
	if err := s.pruneBuildKit(ctx, o, &out.BuildKit); err != nil {
		return out, err
	}
	out.Total = out.Freed + out.Unpacked.Freed + out.BuildKit.Freed
	return out, nil
}

// kept returns what the container backend keeps in the cache's directory.
func (s *session) kept(ctx context.Context) (backend.Keeper, []backend.Kept, error) {
	for _, b := range s.worker.Backends.All() {
		if keeper, ok := b.(backend.Keeper); ok {
			kept, err := keeper.Kept(ctx)
			return keeper, kept, err
		}
	}
	return nil, nil, nil
}

func (s *session) pruneBuildKit(ctx context.Context, o cache.PruneOptions, out *prunedJSON) error {
	socket, err := buildkit.SocketPath(s.buildkitRoot(), s.runtimeDir())
	if err != nil {
		return err
	}
	req := buildkit.PruneRequest{All: o.All, Age: o.MaxAge}
	if o.DryRun {
		_, out.Freed, err = buildkit.Usage(ctx, socket, req)
	} else {
		out.Freed, err = buildkit.Prune(ctx, socket, req)
	}
	if errors.Is(err, buildkit.ErrUnavailable) {
		out.Note = "not running, left as it is"
		return nil
	}
	return err
}

func (s *session) buildkitRoot() string { return filepath.Join(s.store.Dir(), "buildkit") }

func (a *app) printPrune(p *pruneJSON) error {
	verb := "freed"
	if p.DryRun {
		verb = "would free"
	}
	size := func(n int64) string { return units.BytesSize(float64(n)) }
	rows := [][]string{{"WHAT", "HOW MANY", strings.ToUpper(verb)}}
	var named int64
	for _, kind := range slices.Sorted(maps.Keys(p.Kinds)) {
		k := p.Kinds[kind]
		named += k.Bytes
		rows = append(rows, []string{kind, strconv.Itoa(k.Entries), size(k.Bytes)})
	}
	if rest := p.Freed - named; rest > 0 {
		rows = append(rows, []string{"not referred to", "", size(rest)})
	}
	if p.Unpacked.Removed > 0 {
		rows = append(rows, []string{"unpacked images", strconv.Itoa(p.Unpacked.Removed), size(p.Unpacked.Freed)})
	}
	if p.BuildKit.Freed > 0 {
		rows = append(rows, []string{"BuildKit's state", "", size(p.BuildKit.Freed)})
	}
	if len(rows) > 1 {
		if err := printTable(a.stdout, rows); err != nil {
			return err
		}
		fmt.Fprintln(a.stdout)
	}
	text := fmt.Sprintf("%s %s; %s of entries and blobs stay", verb, size(p.Total), size(p.Size))
	if held := p.Held + p.Unpacked.Held; held > 0 {
		text += fmt.Sprintf("; %d are needed by machines or runs", held)
	}
	if _, err := fmt.Fprintln(a.stdout, text); err != nil {
		return err
	}
	if p.BuildKit.Note != "" && !p.DryRun {
		_, err := fmt.Fprintf(a.stdout, "the embedded BuildKit: %s\n", p.BuildKit.Note)
		return err
	}
	return nil
}

// parseSize reads "20GB" (10^9 bytes each) or "512MiB" (2^20).
func parseSize(text string) (int64, error) {
	parse := units.FromHumanSize
	if strings.HasSuffix(strings.ToLower(text), "ib") {
		parse = units.RAMInBytes
	}
	n, err := parse(text)
	if err != nil || n < 0 {
		return 0, errors.New("write a size as 20GB or 512MiB")
	}
	return n, nil
}

// parseAge reads a duration, in which "d" may stand for days: "14d", "12h".
func parseAge(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if days, ok := strings.CutSuffix(text, "d"); ok {
		var n uint64
		n, err = strconv.ParseUint(days, 10, 16)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d <= 0 {
		return 0, errors.New("write a time as 14d or 12h")
	}
	return d, nil
}
