package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/renameio/v2"

	"bottlebuild/cache"
	"bottlebuild/graph"
	bottlefile "bottlebuild/hcl"
)

// savePlan writes a plan to the file that --out names.
func (s *session) savePlan(ctx context.Context, f *planFlags, args []string, file *bottlefile.File, plan *graph.Plan, shown planJSON) error {
	in := f.read
	if slices.Contains(in.paths, stdinName) {
		return usageError("--out: a plan of a bottle file from standard input cannot be saved, since run has to read it again")
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	_, targets, err := f.locate(args)
	if err != nil {
		return err
	}
	p := &savedPlan{
		Version: version(), Created: time.Now().UTC(), Dir: dir,
		Files: in.paths, VarFiles: f.varFiles, Sets: f.sets, Targets: targets,
		Only: f.only, Until: f.until, Force: f.force, NoCache: f.noCache,
		Plan: shown, Recipes: map[string]string{},
	}
	sensitive := map[string]bool{}
	for _, v := range file.Variables() {
		sensitive[v.Name] = v.Sensitive
	}
	p.Env, p.Vars = concealed(in.options.Env, sensitive), concealed(in.options.Vars, sensitive)
	if p.Inputs, err = inputDigests(in, file); err != nil {
		return err
	}
	for _, pr := range plan.Promises() {
		p.Recipes[pr.Address] = pr.Recipe
	}
	room := maxListings
	for _, step := range plan.Steps {
		if step.Decision == graph.Hit {
			continue // its listing is in the store
		}
		texts, err := s.worker.Listings(ctx, step.Spec())
		if err != nil {
			continue // without it a change is told less clearly
		}
		for _, t := range texts {
			if room -= len(t); room >= 0 {
				p.Listings = append(p.Listings, string(t))
			}
		}
	}
	body, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("save plan: %w", err)
	}
	b := append([]byte(savedFormat+cache.DigestOf(body).Hex()+"\n"), body...)
	if len(b) > maxSaved {
		return fmt.Errorf("save plan: it has %d bytes, over the limit of %d", len(b), maxSaved)
	}
	if err := renameio.WriteFile(f.out, b, 0o600); err != nil {
		return usageError("--out: %w", err)
	}
	return nil
}

// checkOut refuses to save a plan in the place of anything but a plan.
func checkOut(path string) error {
	return checkReplaced("--out", path, "a saved plan", int64(len(savedMagic)), func(b []byte) bool { return string(b) == savedMagic })
}

// inputDigests returns the digests of the files that a bottle file is made of.
func inputDigests(in *input, file *bottlefile.File) (map[string]cache.Digest, error) {
	digests := map[string]cache.Digest{}
	for _, s := range slices.Concat(in.sources, in.options.VarFiles) {
		path, err := filepath.Abs(s.Path)
		if err != nil {
			return nil, err
		}
		digests[path] = cache.DigestOf(s.Bytes)
	}
	for _, name := range file.Inputs() {
		path := filepath.Join(in.dir, name)
		b, err := bottlefile.ReadFile(path)
		if err != nil {
			return nil, usageError("%w", err)
		}
		digests[path] = cache.DigestOf(b)
	}
	return digests, nil
}
