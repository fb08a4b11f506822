// Package draw shows a graph of nodes in forms that other programs and people
// read: JSON, DOT, Mermaid, SVG and a page for a browser.
package draw

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/docker/go-units"
)

// FormatVersion is the version of the JSON form: names in it never change within
// a version.
const FormatVersion = "1"

// Graph is what is drawn.
type Graph struct {
	Title string `json:"-"`
	Nodes []Node `json:"nodes"`
	Edges []Edge `json:"edges"`
}

// Node is one node. What is empty is not known, and is not shown.
type Node struct {
	Address  string   `json:"address"`
	Kind     string   `json:"kind"`
	Pos      string   `json:"pos,omitempty"`      // "bottles.hcl:12"
	Decision string   `json:"decision,omitempty"` // "hit", "run", "maybe"
	Action   string   `json:"action,omitempty"`   // "create", "start", …
	Actions  []string `json:"actions,omitempty"`  // where it is one of several
	Key      string   `json:"key,omitempty"`
	Reasons  []string `json:"reasons,omitempty"`
	Seconds  float64  `json:"seconds,omitempty"` // what the work took last
	Bytes    int64    `json:"bytes,omitempty"`
}

// Edge leads from a node to one that depends on it; both are addresses.
type Edge struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Formats are the names that [Write] takes, the first being the usual one.
var Formats = []string{"dot", "mermaid", "json", "svg", "html"}

// Write writes g to w in one of [Formats]. Nodes come after those that they
// depend on.
func Write(w io.Writer, g *Graph, format string) error {
	g = g.printable()
	switch format {
	case "dot":
		return writeDOT(w, g)
	case "mermaid":
		return writeMermaid(w, g)
	case "json":
		return writeJSON(w, g)
	case "svg":
		return writeSVG(w, g)
	case "html":
		return writeHTML(w, g)
	}
	return fmt.Errorf("there is no graph format %q; use one of %s", format, strings.Join(Formats, ", "))
}

func writeJSON(w io.Writer, g *Graph) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		FormatVersion string `json:"format_version"`
		*Graph
	}{FormatVersion, g})
}

// printable returns g with a replacement character for what is not text: XML
// has no form for it.
func (g *Graph) printable() *Graph {
	clean := func(s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsControl(r) && r != '\n' && r != '\t' {
				return unicode.ReplacementChar
			}
			return r
		}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
	}
	out := &Graph{Title: clean(g.Title), Nodes: slices.Clone(g.Nodes), Edges: slices.Clone(g.Edges)}
	for i := range out.Nodes {
		n := &out.Nodes[i]
		n.Address, n.Pos, n.Reasons = clean(n.Address), clean(n.Pos), slices.Clone(n.Reasons)
		for k := range n.Reasons {
			n.Reasons[k] = clean(n.Reasons[k])
		}
	}
	for i := range out.Edges {
		out.Edges[i] = Edge{clean(out.Edges[i].From), clean(out.Edges[i].To)}
	}
	return out
}

// state is the decision with the action, where that says more.
func (n Node) state() string {
	if action := cmp.Or(n.Action, strings.Join(n.Actions, " or ")); action != "" && n.Decision != "hit" {
		return n.Decision + " (" + action + ")"
	}
	return n.Decision
}

// cost is what the work took when it was last done.
func (n Node) cost() string {
	var parts []string
	if n.Seconds > 0 {
		parts = append(parts, fmt.Sprintf("%.3g s", n.Seconds))
	}
	if n.Bytes > 0 {
		parts = append(parts, units.HumanSize(float64(n.Bytes)))
	}
	return strings.Join(parts, ", ")
}

// lines is what is written into a node's box: the address, then what a run would do.
func (n Node) lines() []string {
	lines := []string{n.Address}
	if s := n.state(); s != "" {
		if len(n.Reasons) > 0 {
			s += ": " + n.Reasons[0]
		}
		lines = append(lines, shorten(s, maxLine))
	}
	return lines
}

// maxLine bounds a line below the address, in characters.
const maxLine = 44

func shorten(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}

// A colour is given by decision; forms for people name the decision as well.
type colour struct{ fill, line string }

func (n Node) colour() colour {
	switch n.Decision {
	case "run":
		return colour{"#d7f0dc", "#1a7f37"}
	case "maybe":
		return colour{"#fff1c9", "#9a6700"}
	case "hit":
		return colour{"#eef0f2", "#6e7781"}
	}
	return colour{"#ffffff", "#57606a"}
}
