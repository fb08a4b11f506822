package tasks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"bottlebuild/cache"
	"bottlebuild/tasks/buildkit"
	"bottlebuild/tasks/registry"
)

// kindDockerfile is the kind of entries that hold the Dockerfile of a commit.
const kindDockerfile = "dockerfile"

// remoteDockerfile returns the Dockerfile of a context in a Git repository, at
// the commit that its ref stands for. What was fetched once needs no network.
func (w *Worker) remoteDockerfile(ctx context.Context, p Image) ([]byte, error) {
	g, ok, err := buildkit.ParseGit(p.Remote)
	if err != nil || !ok {
		return nil, fmt.Errorf("context %s is no Git URL: %w", p.Remote, err)
	}
	commit := g.Ref
	if !g.Pinned() {
		pin := Pin{PinGit, g.Name()}
		if commit, err = w.pin(pin, func() (string, error) { return w.lookUp(ctx, pin) }); err != nil {
			return nil, fmt.Errorf("resolve %s: %w", p.Remote, err)
		}
	}
	name := path.Join(g.Dir, path.Clean("/" + p.Dockerfile)[1:])
	r := cache.NewRecipe(kindDockerfile)
	r.AddList("file", []string{g.Repository, commit, name})
	if entry, err := w.Store.Get(r.Key()); err == nil {
		if d, err := w.Store.ReadBlob(entry.Output.Digest, maxDockerfile); err == nil {
			return d, nil
		}
	}
	text, err := w.gitFile(ctx, g, commit, name)
	if err != nil {
		return nil, err
	}
	if len(text) > maxDockerfile {
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxDockerfile)
	}
	d, err := w.Store.PutBytes(text)
	if err != nil {
		return nil, err
	}
	// What cannot be kept, as while a plan is made, is fetched again.
	_ = w.Store.Put(&cache.Entry{
		Key: r.Key(), Kind: kindDockerfile, Created: time.Now().UTC(), Recipe: r.Text(),
		Output: cache.Output{Digest: d, Blobs: []cache.Blob{{Name: "file", Digest: d, Size: int64(len(text))}}},
	})
	return text, nil
}

// gitFile fetches a file of a commit, and as little else as the server allows.
func (w *Worker) gitFile(ctx context.Context, g buildkit.GitContext, commit, name string) ([]byte, error) {
	dir, err := os.MkdirTemp("", "bottlebuild-git-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if _, err := w.git(ctx, dir, "init", "-q", "--bare"); err != nil {
		return nil, err
	}
	if _, err := w.git(ctx, dir, "remote", "add", "origin", "--", g.Repository); err != nil {
		return nil, err
	}
	_, err = w.git(ctx, dir, "fetch", "-q", "--depth=1", "--no-tags", "--filter=blob:none", "origin", commit)
	if err != nil && g.Ref != "" { // not all servers give out commits by their names
		_, err = w.git(ctx, dir, "fetch", "-q", "--depth=1", "--no-tags", "--filter=blob:none", "origin", g.Ref)
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s of %s: %w: %w", commit, g.Repository, registry.ErrUnavailable, err)
	}
	text, err := w.git(ctx, dir, "cat-file", "blob", commit+":"+name)
	var failed *gitError
	if errors.As(err, &failed) && strings.Contains(failed.text, "does not exist") {
		return nil, fmt.Errorf("there is no file %s in commit %s of %s; name another with dockerfile, relative to the context", name, commit, g.Repository)
	}
	return text, err
}
