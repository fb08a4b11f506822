package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"bottlebuild/cache"
)

func newCacheCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cache",
		Short: "Look at the cache, check it, make it smaller, carry it elsewhere",
		Long: `The cache holds what image builds and packs have yielded, by the key of the work
that yielded it. It is a directory, BOTTLEBUILD_CACHE or
~/.cache/bottlebuild, and bounds itself: once a day, after a run, it drops
what has not been used for 30 days, and the least recently used of what is over
a tenth of its disk. BOTTLEBUILD_CACHE_MAX_AGE and BOTTLEBUILD_CACHE_MAX_SIZE
change these bounds; "none" lifts one.`,
		Example: `  bottlebuild cache stat               what takes how much room
  bottlebuild cache prune --dry-run    what would go
  bottlebuild cache verify             read all of it again
  bottlebuild cache export usb         carry it to a machine without a network
  bottlebuild cache keygen ci.key      a key to sign what others are to use`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newCacheLsCommand(a), newCacheShowCommand(a), newCacheStatCommand(a),
		newCachePruneCommand(a), newCacheVerifyCommand(a), newCacheExportCommand(a), newCacheImportCommand(a), newCacheKeygenCommand(a))
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
		c.Args = usageArgs(c.Args)
	}
	return cmd
}

// entryKinds are the kinds of what is in the cache.
var entryKinds = slices.Concat(stages, []string{"analysis", "download"})

func newCacheLsCommand(a *app) *cobra.Command {
	var kind string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the entries, those used last first",
		Long: `Lists the entries of the cache: what each piece of work yielded. The state is
empty, "evicted" where only the recipe is left, which explains the next run, or
"pinned" where a machine needs the output.`,
		Example: `  bottlebuild cache ls --kind pack
  bottlebuild cache ls --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kind != "" && !slices.Contains(entryKinds, kind) {
				return usageError("--kind %q: write one of %s", kind, strings.Join(entryKinds, ", "))
			}
			s, err := a.look()
			if err != nil {
				return err
			}
			defer s.close()
			list, err := s.store.List(cmd.Context())
			if err != nil {
				return err
			}
			list = slices.DeleteFunc(list, func(e cache.EntryInfo) bool { return kind != "" && e.Kind != kind })
			if asJSON {
				if list == nil {
					list = []cache.EntryInfo{}
				}
				return a.printJSON(list)
			}
			rows := [][]string{{"KEY", "KIND", "SIZE", "TOOK", "USED", "STATE", "MADE BY"}}
			for _, e := range list {
				rows = append(rows, []string{e.Key.Hex()[:12], e.Kind, units.BytesSize(float64(e.Bytes)),
					shortDuration(time.Duration(e.Seconds * float64(time.Second))), ago(e.Used), entryState(e), e.Address})
			}
			return printTable(a.stdout, rows)
		},
	}
	filledFlag(cmd, &kind, "kind", "only entries of this kind: "+strings.Join(entryKinds, ", "))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the entries as JSON")
	return cmd
}

func entryState(e cache.EntryInfo) string {
	switch {
	case e.Evicted:
		return "evicted"
	case e.Pinned:
		return "pinned"
	}
	return ""
}

// cacheShowJSON is what cache show --json prints.
type cacheShowJSON struct {
	*cache.Entry
	Missing []cache.Blob `json:"missing"` // blobs that are gone
	Recipe  []recipeJSON `json:"recipe"`
}

type recipeJSON struct {
	Component string `json:"component"`
	Value     string `json:"value"`
}

func newCacheShowCommand(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show KEY|NODE",
		Short: "Show one entry: its output, and the recipe that its key is of",
		Long: `Shows an entry by its key or by the first digits of it, as cache ls and
plan --json print it, or the newest entry that a node has made, of whatever
bottle file.`,
		Example: `  bottlebuild cache show 3f9a2c41
  bottlebuild cache show image.base
  bottlebuild cache show sha256:3f9a2c41 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := a.look()
			if err != nil {
				return err
			}
			defer s.close()
			key, err := s.findEntry(cmd.Context(), args[0])
			if errors.Is(err, cache.ErrMiss) {
				return usageError("there is no entry %s; see: bottlebuild cache ls", args[0])
			}
			if err != nil {
				return &exitError{classify(err, exitUsage), err}
			}
			e, missing, err := s.store.Inspect(key)
			if err != nil {
				return err
			}
			var components []cache.Component
			recipe, err := cache.ParseRecipe(e.Recipe)
			if err == nil {
				components = recipe.Components
			}
			if asJSON {
				out := cacheShowJSON{Entry: e, Missing: append([]cache.Blob{}, missing...), Recipe: []recipeJSON{}}
				for _, c := range components {
					out.Recipe = append(out.Recipe, recipeJSON{c.Name, c.Value})
				}
				return a.printJSON(out)
			}
			return a.printEntry(e, missing, components)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the entry as JSON")
	return cmd
}

// findEntry returns the key of the entry that is meant by the start of its key, or
// of the newest that the node with an address has made. The error wraps
// [cache.ErrMiss] if there is none.
func (s *session) findEntry(ctx context.Context, name string) (cache.Key, error) {
	if !strings.Contains(name, ".") {
		return s.store.Find(name)
	}
	list, err := s.store.List(ctx)
	if err != nil {
		return cache.Key{}, err
	}
	var newest cache.EntryInfo
	for _, e := range list {
		if strings.ReplaceAll(e.Address, `"`, "") == strings.ReplaceAll(name, `"`, "") && e.Created.After(newest.Created) {
			newest = e
		}
	}
	if newest.Address == "" {
		return cache.Key{}, cache.ErrMiss
	}
	return newest.Key, nil
}

func (a *app) printEntry(e *cache.Entry, missing []cache.Blob, components []cache.Component) error {
	rows := [][]string{
		{"key", e.Key.String()},
		{"kind", e.Kind},
		{"made by", e.Address},
		{"made", ago(e.Created) + ", in " + shortDuration(time.Duration(e.Seconds*float64(time.Second)))},
		{"output", e.Output.Digest.String()},
		{"size", units.BytesSize(float64(e.Bytes))},
	}
	for _, name := range slices.Sorted(maps.Keys(e.Output.Attrs)) {
		value := e.Output.Attrs[name]
		if len(value) > maxDefault {
			value = value[:maxDefault] + "…"
		}
		rows = append(rows, []string{name, value})
	}
	for _, b := range e.Output.Blobs {
		text := fmt.Sprintf("%s %s, %s", b.Digest, units.BytesSize(float64(b.Size)), b.MediaType)
		if slices.Contains(missing, b) {
			text += " (gone)"
		}
		rows = append(rows, []string{"blob " + b.Name, text})
	}
	if err := printTable(a.stdout, rows); err != nil {
		return err
	}
	rows = [][]string{{"\nCOMPONENT", "VALUE"}}
	for _, c := range components {
		rows = append(rows, []string{c.Name, strings.ReplaceAll(c.Value, "\n", `\n`)})
	}
	return printTable(a.stdout, rows)
}

func newCacheVerifyCommand(a *app) *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [FILE] [TARGET...]",
		Short: "Read all of the cache and check it against its digests",
		Long: `Verify reads every entry and every blob. What is damaged is moved to the cache's
quarantine, so that the next run makes it again ("plan" says "damaged" until then),
and the exit code is 6.

With --rebuild N it also builds up to N of the bottle file's images again, drawn
at random from those that are in the cache, without any build cache, and
compares the digests: an image that comes out otherwise is not reproducible,
and the exit code is 6 as well. Nothing of that is kept.`,
		Example: `  bottlebuild cache verify
  bottlebuild cache verify --rebuild 3 bottles.hcl`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return a.verifyCache(cmd.Context(), &f, args) },
	}
	f.fileFlags.add(cmd)
	cmd.Flags().IntVar(&f.rebuild, "rebuild", 0, "build up to this many images of the bottle file again, and compare")
	cmd.Flags().BoolVar(&f.json, "json", false, "print what was found as JSON")
	return cmd
}

type verifyFlags struct {
	selection
	rebuild int
	json    bool
}

// verifyJSON is what cache verify --json prints.
type verifyJSON struct {
	*cache.VerifyReport
	Rebuilt []rebuiltJSON `json:"rebuilt,omitempty"`
}

func (a *app) verifyCache(ctx context.Context, f *verifyFlags, args []string) error {
	if f.rebuild < 0 {
		return usageError("--rebuild %d: it cannot be negative", f.rebuild)
	}
	if f.rebuild == 0 && len(args)+len(f.files) > 0 {
		return usageError("cache verify reads a bottle file only with --rebuild N")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	var out verifyJSON
	meter := a.newMeter("verifying")
	out.VerifyReport, err = s.store.Verify(ctx, cache.VerifyOptions{Jobs: 2, Progress: meter.set})
	meter.close()
	if err != nil {
		return err
	}
	bad := len(out.Damaged)
	if f.rebuild > 0 {
		if out.Rebuilt, err = s.rebuild(ctx, &f.selection, args, f.rebuild); err != nil {
			return err
		}
	}
	for _, r := range out.Rebuilt {
		if !r.Equal {
			bad++
		}
	}
	if f.json {
		err = a.printJSON(out)
	} else {
		err = a.printVerify(out)
	}
	if err == nil && bad > 0 {
		err = &exitError{code: exitDamaged}
	}
	return err
}

func (a *app) printVerify(v verifyJSON) error {
	for _, text := range v.Damaged {
		fmt.Fprintf(a.stdout, "%s (moved to quarantine)\n", text)
	}
	for _, r := range v.Rebuilt {
		text := "came out the same"
		if !r.Equal {
			text = fmt.Sprintf("is not reproducible: %s before, %s now", r.Before, r.After)
		}
		fmt.Fprintf(a.stdout, "%s %s\n", r.Address, text)
	}
	_, err := fmt.Fprintf(a.stdout, "%d entries and %d blobs, %s: %d damaged\n",
		v.Entries, v.Blobs, units.BytesSize(float64(v.Bytes)), len(v.Damaged))
	return err
}
