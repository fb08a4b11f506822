package main

import (
	"context"
	"errors"
	"fmt"

	"bottlebuild/cache/remote"
)

// pruneRemoteJSON is what cache prune --remote --json prints.
type pruneRemoteJSON struct {
	DryRun       bool                 `json:"dry_run"`
	Repositories []remote.PruneReport `json:"repositories"`
}

// pruneRemote removes records from a registry.
func (a *app) pruneRemote(ctx context.Context, f *pruneFlags, o remote.PruneOptions) error {
	if !f.all && f.maxSize == "" && f.maxAge == "" {
		return usageError("cache prune --remote: say what is to go, with --max-age, --max-size or --all")
	}
	s, err := a.open()
	if err != nil {
		return err
	}
	defer s.close()
	f.shared.list = f.remote + ":rw"
	conf, err := s.sharedConfig(nil, &f.shared)
	if err != nil {
		return err
	}
	if len(conf.Remotes) != 1 {
		return usageError("--remote %q: name one registry and prefix, as in registry.example.com/acme", f.remote)
	}
	if err := s.shareBy(conf); err != nil {
		return err
	}
	reports, err := s.shared.Prune(ctx, o)
	switch {
	case errors.Is(err, remote.ErrNoDelete):
		err = &exitError{exitFailed, err}
	case err != nil && ctx.Err() == nil:
		err = &exitError{classify(err, exitUnavailable), err}
	}
	if f.json {
		return errors.Join(err, a.printJSON(pruneRemoteJSON{f.dryRun, reports}))
	}
	if err != nil {
		return err
	}
	for _, r := range reports {
		verb := "removed"
		if f.dryRun {
			verb = "would remove"
		}
		text := fmt.Sprintf("%s: %s %d of %d records, %s", r.Repository, verb, r.Records, r.Records+r.Kept, bytesText(r.Freed))
		if r.Young > 0 {
			text += fmt.Sprintf("; %d were used within the last hour and stay: only --all removes them", r.Young)
		}
		if r.Foreign > 0 {
			text += fmt.Sprintf("; %d tags are not bottlebuild's and stay", r.Foreign)
		}
		if _, err := fmt.Fprintln(a.stdout, text); err != nil {
			return err
		}
	}
	return nil
}
