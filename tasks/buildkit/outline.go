package buildkit

import (
	"bytes"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/command"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
)

// SourcesVary tells whether what a Dockerfile reads of its contexts may depend on
// variables, which an image that it starts from can set.
func SourcesVary(dockerfile []byte) bool {
	d, err := parser.Parse(bytes.NewReader(dockerfile))
	if err != nil {
		return true
	}
	dollar := func(s string) bool { return strings.Contains(s, "$") }
	return slices.ContainsFunc(d.AST.Children, func(n *parser.Node) bool {
		switch strings.ToLower(n.Value) {
		case command.Copy, command.Add:
			return dollar(n.Original)
		case command.Run:
			return slices.ContainsFunc(n.Flags, dollar)
		}
		return false
	})
}
