package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"bottlebuild/cache"
	"bottlebuild/cache/remote"
	"bottlebuild/graph"
	"bottlebuild/tasks"
)

type exportFlags struct {
	selection
	keys []string
	json bool
}

func newCacheExportCommand(a *app) *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export DIR [FILE] [TARGET...]",
		Short: "Write results to a directory, for machines without a network",
		Long: `Export writes the images, pushes and packs of a bottle file's targets, or the
entries named with --key, to DIR as an OCI image layout, as they would be in a
registry, signatures included; with --cache-sign-key they are signed by that key
too. "bottlebuild cache import" reads it, and skopeo, crane and oras do. What is
in DIR already is not written again: an export that was cut off goes on.

All of it must be in the cache, or in the shared one; else nothing is written, and
the exit code is 2: bottlebuild warm makes what is cold.`,
		Example: `  bottlebuild cache export /media/usb/cache bottles.hcl
  bottlebuild cache export out bottles.hcl 'bottle.web*' --cache-sign-key ci.key
  bottlebuild cache export out --key 3f9a2c41
  skopeo inspect oci:out:ac-3f9a2c41…`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.exportCache(cmd.Context(), &f, args[0], args[1:])
		},
	}
	f.fileFlags.add(cmd)
	f.shared.add(cmd)
	textsFlag(cmd, &f.keys, "key", "", "the entry of this `KEY`, or whose key starts with these digits, instead of a bottle file's; repeatable")
	cmd.Flags().BoolVar(&f.json, "json", false, "print what was done as JSON")
	return cmd
}

func (a *app) exportCache(ctx context.Context, f *exportFlags, dir string, args []string) error {
	f.shared.carry = true
	byKey := len(f.keys) > 0
	if byKey && len(args)+len(f.files) > 0 {
		return usageError("cache export: --key stands instead of a bottle file and targets; give one or the other")
	}
	c := &chosen{}
	if !byKey {
		var err error
		if c, err = a.choose(ctx, &f.selection, args); err != nil {
			return err
		}
		if err := c.keepShared("export"); err != nil {
			return err
		}
	}
	s, release, err := a.hold()
	if err != nil {
		return err
	}
	defer s.close()
	defer release()
	conf, err := s.sharedConfig(c.file, &f.shared)
	if err == nil {
		err = s.shareBy(conf)
	}
	if err != nil {
		return err
	}
	var entries []*cache.Entry
	if byKey {
		entries, err = s.entriesOf(f.keys)
	} else {
		entries, err = s.entriesFor(ctx, c)
	}
	if err != nil {
		return err
	}
	meter := a.newMeter("exporting")
	r, err := s.shared.Export(ctx, dir, entries, meter.set)
	meter.close()
	if err != nil {
		return err
	}
	return a.printCopied("exported to "+dir, r, f.json)
}

// entriesOf returns the entries of this machine's cache that keys name.
func (s *session) entriesOf(keys []string) (entries []*cache.Entry, err error) {
	for _, text := range keys {
		k, err := s.store.Find(text)
		var e *cache.Entry
		if err == nil {
			e, err = s.store.Get(k)
		}
		switch {
		case errors.Is(err, cache.ErrMiss):
			return nil, usageError("there is no whole entry %s; see: bottlebuild cache ls", text)
		case err != nil:
			return nil, &exitError{classify(err, exitUsage), err}
		case !tasks.Shares(e.Kind):
			return nil, usageError("%s is of kind %s, which is of no use elsewhere", text, e.Kind)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// entriesFor returns the entries of nodes, with all blobs here.
func (s *session) entriesFor(ctx context.Context, c *chosen) ([]*cache.Entry, error) {
	plan, err := s.planNodes(ctx, s.runner(c), c.nodes)
	if err != nil {
		return nil, planError(err)
	}
	var entries []*cache.Entry
	var cold []string
	seen := map[cache.Key]bool{}
	for _, step := range plan.Steps {
		if !tasks.Shares(step.Node.Kind) || seen[step.Key] && !step.Key.IsZero() {
			continue
		}
		seen[step.Key] = true
		e, err := s.entryHere(ctx, step)
		if errors.Is(err, cache.ErrMiss) {
			cold = append(cold, step.Node.Address)
			continue
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, e)
	}
	if len(cold) > 0 {
		return nil, &exitError{exitWork, fmt.Errorf("not in the cache: %s; make it with: bottlebuild warm", strings.Join(cold, ", "))}
	}
	return entries, nil
}

// entryHere returns the entry of a step, fetched if it is elsewhere. The error
// wraps [cache.ErrMiss] if there is none.
func (s *session) entryHere(ctx context.Context, step *graph.Step) (*cache.Entry, error) {
	if step.Decision != graph.Hit || step.SameAs != nil {
		return nil, cache.ErrMiss
	}
	e, err := s.store.Get(step.Key)
	if !errors.Is(err, cache.ErrMiss) {
		return e, err
	}
	if e, err = s.shared.Find(ctx, step.Key); err != nil {
		return nil, err
	}
	return e, s.worker.Fetch(ctx, e.Output.Blobs, s.worker.Progress(step.Node.Address))
}

func newCacheImportCommand(a *app) *cobra.Command {
	var f cacheFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "import DIR",
		Short: "Take what cache export has written into the cache",
		Long: `Import reads an OCI image layout that "bottlebuild cache export" has written. Every
record and every blob is checked as those of a registry are: with --cache-trust only
what one of these keys has signed is taken. What does not hold is refused, the rest
is taken, and the exit code is 6. What is in the cache already is not copied again:
an import that was cut off goes on.`,
		Example: `  bottlebuild cache import /media/usb/cache --cache-trust ci.key.pub
  bottlebuild cache import out --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.importCache(cmd.Context(), &f, args[0], asJSON)
		},
	}
	f.addTrust(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was done as JSON")
	return cmd
}

func (a *app) importCache(ctx context.Context, f *cacheFlags, dir string, asJSON bool) error {
	f.carry, f.list = true, remote.Local
	s, release, err := a.hold()
	if err != nil {
		return err
	}
	defer s.close()
	defer release()
	conf, err := s.sharedConfig(nil, f)
	if err != nil {
		return err
	}
	o := remote.ImportOptions{}
	if o.Trust.Keys, err = a.trustedKeys(f.trust); err != nil {
		return err
	}
	if conf.RequireSigned && len(o.Trust.Keys) == 0 {
		return usageError("signatures are required, but there is no public key to check them with; give --cache-trust")
	}
	if o.Scope, err = a.cacheScope(f); err != nil {
		return err
	}
	if err := s.shareBy(conf); err != nil {
		return err
	}
	meter := a.newMeter("importing")
	o.Progress = meter.set
	r, err := s.shared.Import(ctx, dir, o)
	meter.close()
	if errors.Is(err, remote.ErrNoLayout) {
		return usageError("%w", err)
	}
	if err != nil && !errors.Is(err, remote.ErrUntrusted) {
		return err
	}
	if err == nil && r.Entries == 0 {
		fmt.Fprintf(a.stderr, "bottlebuild: %s has no results of bottlebuild; \"bottlebuild cache export\" writes them\n", dir)
	}
	return errors.Join(err, a.printCopied("imported from "+dir, r, asJSON))
}

func (a *app) printCopied(what string, r *remote.CopyReport, asJSON bool) error {
	if asJSON {
		return a.printJSON(r)
	}
	for _, x := range r.Refused {
		fmt.Fprintf(a.stderr, "refused %s: %s\n", x.Record, x.Why)
	}
	_, err := fmt.Fprintf(a.stdout, "%d results %s, %s in %d new blobs\n", r.Entries, what, bytesText(r.Bytes), r.Blobs)
	return err
}
