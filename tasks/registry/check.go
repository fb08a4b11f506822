package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"bottlebuild/cache"
)

// Check asks a registry whether the target still has the manifest of that digest
// and its tags stand for it. It returns what is not so, for people to read:
// "tag dev is gone", "tag dev points to sha256:…". err is a failure to find out.
func (c *Client) Check(ctx context.Context, target Target, digest cache.Digest) (missing []string, err error) {
	repo, err := target.repository()
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", digest, err)
	}
	findings := make([]string, 1+len(target.Tags))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	look := func(finding *string, what string, ref name.Reference) {
		g.Go(func() (err error) {
			*finding, err = c.checkOne(gctx, what, ref, target.Insecure, digest)
			return err
		})
	}
	look(&findings[0], "the manifest", repo.Digest(digest.String()))
	for i, tag := range target.Tags {
		look(&findings[1+i], "tag "+tag, repo.Tag(tag))
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(findings, func(s string) bool { return s == "" }), nil
}

func (c *Client) checkOne(ctx context.Context, what string, ref name.Reference, insecure bool, want cache.Digest) (finding string, err error) {
	got, err := c.resolve(ctx, ref, insecure)
	var answer *transport.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		return what + " is gone", nil
	case err != nil:
		return "", err
	case got != want:
		return fmt.Sprintf("%s points to %s", what, got), nil
	}
	return "", nil
}
