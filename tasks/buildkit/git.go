package buildkit

import (
	"path"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/dfgitutil"
)

// GitContext is a directory in a Git repository.
type GitContext struct {
	Repository string // what git takes as a remote
	Ref        string // empty: the default branch
	Dir        string // with slashes; empty: the top
}

// ParseGit reads a context such as "https://example.com/r.git#main:dir" as BuildKit
// does; ok tells whether it is one. An https or http URL is one if its path ends in
// ".git".
func ParseGit(context string) (g GitContext, ok bool, err error) {
	ref, ok, err := dfgitutil.ParseGitRef(context)
	if !ok || err != nil {
		return g, ok, err
	}
	g = GitContext{Repository: ref.Remote, Ref: ref.Ref, Dir: strings.Trim(path.Clean("/"+ref.SubDir), "/")}
	if ref.IndistinguishableFromLocal {
		g.Repository = "https://" + g.Repository
	}
	if ref.Checksum != "" {
		g.Ref = ref.Checksum
	}
	return g, true, nil
}

// Name is what the context is pinned by: "REPOSITORY#REF".
func (g GitContext) Name() string {
	if g.Ref == "" {
		return g.Repository
	}
	return g.Repository + "#" + g.Ref
}

// Pinned tells whether Ref is a commit.
func (g GitContext) Pinned() bool { return isCommit(g.Ref) }
