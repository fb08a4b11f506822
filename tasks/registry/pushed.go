package registry

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/renameio/v2"

	"bottlebuild/cache"
)

// A file pushed/HEX of the store, HEX being the SHA-256 of a registry's host,
// remembers which repository there was given which blob last, so that another
// repository can be offered a mount. It may be wrong or gone: then blobs are
// uploaded.

// Bounds of that file, in bytes and in blobs.
const (
	maxPushedFile  = 16 << 20
	maxPushedBlobs = 100_000
)

type pushedFile struct {
	Host  string                  `json:"host"`
	Blobs map[cache.Digest]string `json:"blobs"` // repository by digest
}

func pushedPath(host string) string {
	return path.Join("pushed", cache.DigestOf([]byte(host)).Hex())
}

// mountSources returns for blobs of the image a repository, other than repo, of
// the same registry that may have it.
func (c *Client) mountSources(repo name.Repository, img cache.Output) map[cache.Digest]string {
	f := c.readPushed(repo.RegistryStr())
	sources := map[cache.Digest]string{}
	for _, b := range img.Blobs {
		if from := f.Blobs[b.Digest]; repositoryName.MatchString(from) && from != repo.RepositoryStr() {
			sources[b.Digest] = from
		}
	}
	return sources
}

// readPushed reads what is remembered of a registry; what cannot be read is nothing.
func (c *Client) readPushed(host string) pushedFile {
	empty := pushedFile{Host: host, Blobs: map[cache.Digest]string{}}
	root, err := os.OpenRoot(c.Store.Dir())
	if err != nil {
		return empty
	}
	defer root.Close()
	f, err := root.Open(pushedPath(host))
	if err != nil {
		return empty
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxPushedFile))
	if err != nil {
		return empty
	}
	var got pushedFile
	if err := json.Unmarshal(raw, &got); err != nil || got.Host != host || got.Blobs == nil {
		return empty
	}
	return got
}

// remember notes that the repository has all of the image's blobs. A failure
// costs an upload some day and is not reported.
func (c *Client) remember(ctx context.Context, repo name.Repository, img cache.Output) {
	host := repo.RegistryStr()
	unlock, err := c.Store.Lock(ctx, cache.Key(cache.DigestOf([]byte(pushedPath(host)))))
	if err != nil {
		return
	}
	defer unlock()
	f := c.readPushed(host)
	if len(f.Blobs)+len(img.Blobs) > maxPushedBlobs {
		clear(f.Blobs)
	}
	changed := false
	for _, b := range img.Blobs {
		if b.Name != "manifest" && b.Name != "index" && f.Blobs[b.Digest] != repo.RepositoryStr() {
			f.Blobs[b.Digest] = repo.RepositoryStr()
			changed = true
		}
	}
	if changed {
		_ = c.writePushed(host, f)
	}
}

func (c *Client) writePushed(host string, f pushedFile) error {
	raw, err := json.Marshal(f)
	if err != nil {
		return err
	}
	to := path.Join(c.Store.Dir(), pushedPath(host))
	if err := os.Mkdir(path.Dir(to), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	tmp, err := c.Store.TempDir() // whose leftovers are swept
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	return renameio.WriteFile(to, raw, 0o600, renameio.WithTempDir(tmp))
}
