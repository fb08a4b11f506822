package buildkit

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
)

// Copy is a path that COPY or ADD takes from a directory, without any wildcard: a
// build fails if there is none.
type Copy struct {
	Context string // name of the context
	Path    string // slash-separated, relative to it
	Line    int    // of the Dockerfile; 0: of a trigger of an image
}

// addCopies adds what the steps of defs copy. mounts are as of addSources. The
// definitions are what is built, so variables have their values in them, and stages
// that are not needed are not there.
func (a *Analysis) addCopies(defs []*pb.Definition, mounts map[string]string, dockerfile []byte) error {
	lines := bytes.Split(dockerfile, []byte("\n"))
	for _, def := range defs {
		ops, err := parseOps(def)
		if err != nil {
			return err
		}
		locals := map[string]string{} // contexts by the digests of their operations
		for i, op := range ops {
			if name, ok := strings.CutPrefix(op.GetSource().GetIdentifier(), "local://"); ok {
				locals[digest.FromBytes(def.Def[i]).String()] = mounts[name]
			}
		}
		for n, op := range ops {
			for _, action := range op.GetFile().GetActions() {
				c, i := action.GetCopy(), int(action.SecondaryInput)
				if c == nil || i < 0 || i >= len(op.Inputs) { // else of another action of this step
					continue
				}
				name, ok := locals[op.Inputs[i].Digest]
				// With patterns nothing need be there; --parents makes such of its paths.
				if !ok || len(c.IncludePatterns)+len(c.ExcludePatterns) > 0 || strings.ContainsAny(c.Src, `*?[\`) {
					continue
				}
				if path := strings.Trim(c.Src, "/"); path != "" && path != "." {
					a.Copies = append(a.Copies, Copy{name, path, copyLine(def, digest.FromBytes(def.Def[n]), lines)})
				}
			}
		}
	}
	slices.SortFunc(a.Copies, func(a, b Copy) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Context, b.Context), cmp.Compare(a.Path, b.Path))
	})
	a.Copies = slices.Compact(a.Copies)
	return nil
}

// copyLine returns the line of the COPY or ADD that an operation is of; 0 if it is
// none of the Dockerfile's.
func copyLine(def *pb.Definition, op digest.Digest, lines [][]byte) int {
	if def.Source == nil {
		return 0
	}
	for _, l := range def.Source.Locations[op.String()].GetLocations() {
		for _, r := range l.Ranges {
			n := int(r.GetStart().GetLine())
			if n < 1 || n > len(lines) {
				continue
			}
			word, _, _ := bytes.Cut(bytes.TrimSpace(lines[n-1]), []byte(" "))
			if w := strings.ToLower(string(word)); w == command.Copy || w == command.Add {
				return n
			}
		}
	}
	return 0
}
